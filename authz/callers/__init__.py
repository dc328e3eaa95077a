"""Who may call: apps and their keys, tokens of the identity provider, rates."""
