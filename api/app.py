"""The application: `create_app(settings)` puts the parts together, around one PDP."""

from flask import Flask

from api import problems, requests
from api.authzen import access
from api.health import health
from authz.pdp import PDP, open_pdp
from authz.settings import Settings


def create_app(settings: Settings, pdp: PDP | None = None) -> Flask:
    """The WSGI application for these settings.

    Raises `PolicyRefused` or `Unavailable` rather than start without a policy or a database.
    """
    app = Flask("caregrant", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.extensions["caregrant"] = pdp or open_pdp(settings.database, settings.policies)
    requests.install(app)
    problems.install(app)
    app.register_blueprint(access)
    app.register_blueprint(health)
    return app
