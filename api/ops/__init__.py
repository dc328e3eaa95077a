"""What operators need: health, readiness, metrics, log lines, the OpenAPI document."""
