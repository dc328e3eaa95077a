"""The schema's history: numbered scripts for Peewee's runner, each frozen once it is released."""
