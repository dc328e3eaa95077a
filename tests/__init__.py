"""Tests: they mirror the packages; `people.py` is the cast."""
