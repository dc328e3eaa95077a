"""`/metrics` for Prometheus: sums over all subscriptions, so that the key of one subscription may not read them."""

from flask import Blueprint, Response

from api.auth import require_client
from api.errors import Problem
from api.ops.meters import exposition_text

metrics = Blueprint("metrics", __name__)


@metrics.get("/metrics")
def exposition() -> Response:
    """Return all counts since the start of the service, in Prometheus' text format."""
    if require_client("audit").subscription is not None:
        raise Problem("forbidden", "The key of one subscription may not read the metrics.")
    text, content_type = exposition_text()
    return Response(text, content_type=content_type)
