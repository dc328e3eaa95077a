"""`/metrics` for Prometheus. A key of one subscription reads none: they are sums over all of them."""

from flask import Blueprint, Response

from api.auth import caller
from api.errors import Problem
from api.ops.meters import exposed

metrics = Blueprint("metrics", __name__)


@metrics.get("/metrics")
def exposition() -> Response:
    """What was counted since the start, in Prometheus' text format."""
    if caller("audit").subscription is not None:
        raise Problem("forbidden", "A key of one subscription reads no metrics.")
    counted, kind = exposed()
    return Response(counted, content_type=kind)
