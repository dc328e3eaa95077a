"""`/healthz`: the process answers. `/readyz`: it can do its work now."""

from flask import Blueprint, Response, current_app

from api.errors import Problem
from api.ops.described import described
from api.ops.readiness import Readiness
from api.v1.responses import Alive, Ready
from authz.policy.pdp import PDP

health = Blueprint("health", __name__)


@health.get("/healthz")
@described(gives=Alive)
def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@health.get("/readyz")
@described(gives=Ready)
def readyz() -> dict[str, str] | Response:
    """This process can decide, change and record now; else 503, which names the checks that fail."""
    pdp: PDP = current_app.extensions["caregrant"]
    readiness: Readiness = current_app.extensions["caregrant.readiness"]
    failed = readiness.failures()
    if failed:
        errors = tuple((f"/{name}", why) for name, why in failed)
        names = ", ".join(name for name, _ in failed)
        raise Problem("unavailable", f"Not ready: {names}.", errors, headers=(("Retry-After", "1"),))
    return {"status": "ready", "policy_version": pdp.version}
