"""The speed of the decisions, as ratios within one run: `python -m benchmarks`."""
