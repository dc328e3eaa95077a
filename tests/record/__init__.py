"""The record: decision log, trees, verification."""
