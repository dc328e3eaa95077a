"""How fast the decisions are, as ratios within one run: `python -m benchmarks`."""
