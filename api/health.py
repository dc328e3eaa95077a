"""`/healthz`: the process answers. `/readyz`: so do the database and the policy."""

from flask import Blueprint, Response, current_app

from api.answers import Alive, Ready
from api.described import described
from authz.database import answering
from authz.models import Subscription
from authz.pdp import PDP

health = Blueprint("health", __name__)


@health.get("/healthz")
@described(gives=Alive)
def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@health.get("/readyz")
@described(gives=Ready)
def readyz() -> dict[str, str] | Response:
    """The database answers and a policy is loaded; else 503."""
    pdp: PDP = current_app.extensions["caregrant"]
    with answering(pdp.database):
        Subscription.select(Subscription.id).limit(1).tuples().execute(pdp.database)
    return {"status": "ready", "policy_version": pdp.version}
