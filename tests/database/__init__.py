"""Databases: sessions, faults, upgrades."""
