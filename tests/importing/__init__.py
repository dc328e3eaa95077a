"""Imports and the demonstration."""
