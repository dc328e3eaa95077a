"""The application: `create_app(settings)` puts the parts together, around one PDP."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from api import errors, request_context, web
from api.authzen import metadata
from api.authzen.page_tokens import PageTokens
from api.authzen.routes import access
from api.limits import MOST_FIELDS
from api.ops import meters, metrics
from api.ops.health import health
from api.ops.openapi import openapi
from api.ops.readiness import Readiness
from api.v1.events import feed
from api.v1.routes import v1
from api.web import oidc, session
from authz.callers.rates import Rates
from authz.callers.tokens import Tokens
from authz.database import Limits
from authz.policy.pdp import PDP, open_pdp
from authz.record import set_decision_log
from authz.settings import Settings


class _Application(Flask):
    """Flask, without its look at each call whether a view is asynchronous: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(settings: Settings, pdp: PDP | None = None, heartbeat: Path | None = None) -> Flask:
    """The WSGI application for these settings. `heartbeat`: the file that the process that seals touches.

    Raises `PolicyRefused`, `Unavailable` or `InvalidInput` rather than start without a policy or a database, or with
    settings that contradict each other.
    """
    app = _Application("caregrant", static_folder=None, template_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body, MAX_FORM_PARTS=MOST_FIELDS)
    limits = Limits.of_service(settings)
    opened = pdp or open_pdp(settings.database, settings.policies, version=settings.policy_version, limits=limits)
    set_decision_log(opened.database, settings.decision_log, fsync=settings.fsync)
    app.extensions["caregrant"] = opened
    app.extensions["caregrant.readiness"] = Readiness(opened.database, request_context.now, heartbeat)
    app.extensions["caregrant.pages"] = PageTokens(opened.database)
    app.extensions["caregrant.tokens"] = Tokens(settings)
    app.extensions["caregrant.rates"] = Rates(opened.database, settings.rate)
    request_context.install(app)
    errors.install(app, web.refusal)
    session.install(app, settings)
    oidc.install(app, settings)
    meters.install(app)
    metadata.install(app, settings)
    app.register_blueprint(access)
    app.register_blueprint(metadata.metadata)
    app.register_blueprint(metrics.metrics)
    app.register_blueprint(openapi)
    app.register_blueprint(health)
    app.register_blueprint(v1)
    app.register_blueprint(feed)
    web.install(app)
    return app
