"""Faults of PostgreSQL under a running service: each is made, callers call on, and what they got is counted.

``python -m tests.faults`` makes every fault for some seconds and prints the table of docs/faults.md.
"""
