"""The application: `create_app(settings)` puts the parts together, around one PDP."""

from flask import Flask

from api import metadata, meters, metrics, oidc, pages, problems, requests, session
from api.authzen import access
from api.feed import feed
from api.health import health
from api.openapi import openapi
from api.v1 import v1
from authz.database import Limits
from authz.page_tokens import PageTokens
from authz.pdp import PDP, open_pdp
from authz.rates import Rates
from authz.record import keep_log
from authz.settings import Settings
from authz.tokens import Tokens


def create_app(settings: Settings, pdp: PDP | None = None) -> Flask:
    """The WSGI application for these settings.

    Raises `PolicyRefused`, `Unavailable` or `InvalidInput` rather than start without a policy or a database, or with
    settings that contradict each other.
    """
    app = Flask("caregrant", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    limits = Limits.of_service(settings)
    opened = pdp or open_pdp(settings.database, settings.policies, version=settings.policy_version, limits=limits)
    keep_log(opened.database, settings.decision_log, fsync=settings.fsync)
    app.extensions["caregrant"] = opened
    app.extensions["caregrant.pages"] = PageTokens(opened.database)
    app.extensions["caregrant.tokens"] = Tokens(settings)
    app.extensions["caregrant.rates"] = Rates(opened.database, settings.rate)
    requests.install(app)
    problems.install(app, pages.refusal)
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
    pages.install(app)
    return app
