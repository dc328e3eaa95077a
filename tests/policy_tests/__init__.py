"""Tests of the policy tests."""
