"""The application: `create_app(settings)` puts the parts together, around one PDP."""

from flask import Flask

from api import oidc, pages, problems, requests, session
from api.authzen import access
from api.feed import feed
from api.health import health
from api.v1 import v1
from authz.pdp import PDP, open_pdp
from authz.settings import Settings
from authz.tokens import Tokens


def create_app(settings: Settings, pdp: PDP | None = None) -> Flask:
    """The WSGI application for these settings.

    Raises `PolicyRefused`, `Unavailable` or `InvalidInput` rather than start without a policy or a database, or with
    settings that contradict each other.
    """
    app = Flask("caregrant", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.extensions["caregrant"] = pdp or open_pdp(settings.database, settings.policies)
    app.extensions["caregrant.tokens"] = Tokens(settings)
    requests.install(app)
    problems.install(app, pages.refusal)
    session.install(app, settings)
    oidc.install(app, settings)
    app.register_blueprint(access)
    app.register_blueprint(health)
    app.register_blueprint(v1)
    app.register_blueprint(feed)
    pages.install(app)
    return app
