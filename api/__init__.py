"""The HTTP adapter, and the only package that imports Flask: each view parses, calls one function and renders."""
