"""Callers: apps, tokens, the provider."""
