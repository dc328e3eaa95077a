"""`/healthz`: the process answers. `/readyz`: the process can decide, change and record now."""

from flask import Blueprint, Response, current_app

from api.errors import Problem
from api.ops.readiness import Readiness
from api.ops.route_documentation import document_route
from api.v1.responses import HealthBody, ReadinessBody
from authz.policy.served import ServedPolicy

health = Blueprint("health", __name__)


@health.get("/healthz")
@document_route(response_body=HealthBody)
def healthz() -> dict[str, str]:
    """Report that the process is alive."""
    return {"status": "ok"}


@health.get("/readyz")
@document_route(response_body=ReadinessBody)
def readyz() -> dict[str, str] | Response:
    """Report whether the process can decide, change and record now; 503 names the checks that fail."""
    served: ServedPolicy = current_app.extensions["caregrant.policy"]
    readiness: Readiness = current_app.extensions["caregrant.readiness"]
    failed = readiness.failures()
    if failed:
        errors = tuple((f"/{name}", fault) for name, fault in failed)
        names = ", ".join(name for name, _ in failed)
        raise Problem("unavailable", f"These checks fail: {names}.", errors, headers=(("Retry-After", "1"),))
    return {"status": "ready", "policy_version": served.pdp.version}
