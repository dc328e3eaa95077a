"""The WSGI application: `create_app(settings)` makes a Flask application with one PDP and all routes."""

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter, Rule

from api import errors, request_context, web
from api.authzen import access, metadata
from api.authzen.page_tokens import PageTokens
from api.limits import MOST_FIELDS
from api.mail.server import read_mail_server
from api.ops import meters, metrics
from api.ops.health import health
from api.ops.openapi import openapi
from api.ops.readiness import Readiness
from api.v1 import v1
from api.v1.events import feed
from api.web import oidc, session
from authz.callers.rates import Rates
from authz.callers.tokens import Tokens
from authz.database import Limits
from authz.policy.pdp import PDP
from authz.policy.served import ServedPolicy, open_served_policy
from authz.record import set_decision_log
from authz.settings import Settings


class _Application(Flask):
    """Flask, with less work for each request: no view is asynchronous, and most paths of apps have no variables."""

    def ensure_sync(self, func: Callable[..., object]) -> Callable[..., object]:
        return func

    @cached_property
    def _fixed_rules(self) -> dict[tuple[str, str], Rule]:
        """The rules without variables, by method and path."""
        rules = [rule for rule in self.url_map.iter_rules() if not rule.arguments and rule.redirect_to is None]
        return {(method, rule.rule): rule for rule in rules for method in {"GET", "POST"} & (rule.methods or set())}

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the adapter that finds the rule of a request; a fixed path, as it was sent, needs no search."""
        key = None if request is None else (request.method, request.environ.get("PATH_INFO", ""))
        rule = None if key is None else self._fixed_rules.get(key)
        if rule is None:
            return super().create_url_adapter(request)
        return _FixedAdapter(rule, lambda: super(_Application, self).create_url_adapter(request))


class _FixedAdapter(MapAdapter):
    """The adapter of a request whose rule is known. `complete` makes the one that builds URLs, which few views do."""

    def __init__(self, rule: Rule, complete: Callable[[], MapAdapter | None]) -> None:
        self._rule, self._complete = rule, complete

    def match(self, *_: Any, **__: Any) -> Any:
        """Return the rule and its variables: none."""
        return self._rule, {}

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that the methods of an adapter need, and that only the complete adapter has."""
        return getattr(self._complete(), name)


def create_app(
    settings: Settings,
    pdp: PDP | None = None,
    heartbeat: Path | None = None,
    served: ServedPolicy | None = None,
) -> Flask:
    """Return the WSGI application for these settings; `heartbeat` is the file that the sealer touches while it works.

    `served` is the policy that the process follows, `pdp` one that stays; by default the policy of the settings. Raises
    `PolicyRefused` for a policy that cannot be compiled, `Unavailable` for a database that is not ready, and
    `InvalidInput` for settings that are invalid.
    """
    app = _Application("caregrant", static_folder=None, template_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body, MAX_FORM_PARTS=MOST_FIELDS)
    if served is None:
        served = open_service_policy(settings) if pdp is None else ServedPolicy(pdp)
    pdp = served.pdp
    spooled = heartbeat is not None  # without a sealer nobody would drain the spool
    set_decision_log(pdp.database, settings.decision_log, fsync=settings.fsync, spooled=spooled)
    app.extensions["caregrant"] = pdp  # of the start: its database stays, its policy may not be the one that decides
    app.extensions["caregrant.policy"] = served
    app.extensions["caregrant.readiness"] = Readiness(pdp.database, request_context.now, heartbeat, served)
    app.extensions["caregrant.pages"] = PageTokens(pdp.database)
    app.extensions["caregrant.tokens"] = Tokens(settings)
    app.extensions["caregrant.rates"] = Rates(pdp.database, settings.rate)
    app.extensions["caregrant.emergency_time"] = timedelta(minutes=settings.emergency_minutes)
    app.extensions["caregrant.mail"] = read_mail_server(settings)
    request_context.install(app)
    errors.install(app, web.render_refusal)
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


def open_service_policy(settings: Settings, folder_version: str = "") -> ServedPolicy:
    """Return the policy of a service with these settings, on its database; raises as `open_served_policy`.

    `folder_version` is the version that the folder had when the service started.
    """
    return open_served_policy(
        settings.database,
        settings.policies,
        only=settings.policy_version,
        folder_version=folder_version,
        limits=Limits.of_service(settings),
    )
