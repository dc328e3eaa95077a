"""Policies: compile them, decide by them, keep their history."""
