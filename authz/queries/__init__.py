"""What pages and `/v1` read, each through the PDP."""
