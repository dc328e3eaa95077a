"""Emergency access in this service: for how long an access lasts, and how often somebody may try to begin one."""

from datetime import timedelta

from flask import current_app

from api.auth import rates
from api.limits import EMERGENCY_TRIES
from authz.record import Actor


def emergency_time() -> timedelta:
    """Return the time after which an emergency access ends by itself (`CAREGRANT_EMERGENCY_MINUTES`)."""
    lasts: timedelta = current_app.extensions["caregrant.emergency_time"]
    return lasts


def count_try(actor: Actor) -> None:
    """Count a try to begin an emergency access. Raises `TooMany` after `EMERGENCY_TRIES` in a minute (T20)."""
    rates().spend(f"emergency:{actor.practitioner}", actor.now, rate=EMERGENCY_TRIES)
