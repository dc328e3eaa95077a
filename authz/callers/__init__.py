"""Callers: apps and their keys, tokens of the identity provider, and rates."""
