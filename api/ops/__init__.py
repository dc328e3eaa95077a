"""Pages for operators: health, readiness, metrics, log lines, the OpenAPI document."""
