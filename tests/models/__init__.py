"""Whole models: their types, rules, facts and questions in files."""
