"""Documents, packages and benchmarks."""
