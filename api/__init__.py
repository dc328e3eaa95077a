"""The HTTP adapter: the only place that knows Flask. It parses, calls one function, and renders."""
