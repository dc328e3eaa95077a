"""Policies: compiled, decided, explained."""
