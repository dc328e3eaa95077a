"""Policies: compile policies, decide by them, and know which policy was in force when."""
