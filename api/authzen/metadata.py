"""What this PDP can do, for AuthZEN clients to find (AuthZEN 9): from the configuration, never from the request."""

from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Blueprint, Flask, Response, current_app
from joserfc import jwt

from api.errors import Problem
from api.ops.described import described
from api.v1.responses import Metadata
from authz.callers.tokens import signing_key
from authz.errors import InvalidInput, NotFound
from authz.settings import Settings

metadata = Blueprint("metadata", __name__)

_WELL_KNOWN = "/.well-known/authzen-configuration"
_ENDPOINTS = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def install(app: Flask, settings: Settings) -> None:
    """Make the metadata, once. Raises `InvalidInput` for a public URL that cannot be one."""
    url = settings.public_url
    app.extensions["caregrant.metadata"] = url and orjson.dumps(_signed(_described(url), settings.metadata_key))
    app.extensions["caregrant.path"] = urlsplit(url).path.strip("/")


@metadata.get(_WELL_KNOWN)
@metadata.get(f"{_WELL_KNOWN}/<path:tenant>")
@described(gives=Metadata)
def authzen_configuration(tenant: str = "") -> Response:
    """The AuthZEN metadata of this PDP; its identifier's path, if it has one, follows the well-known string (9.2)."""
    made: bytes = current_app.extensions["caregrant.metadata"]
    if not made:
        raise Problem("not-found", "CAREGRANT_PUBLIC_URL is not set, so that this service does not know its own URL.")
    if tenant != current_app.extensions["caregrant.path"]:
        raise NotFound
    return Response(made, content_type="application/json")


def _described(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not known or not parts.hostname or parts.username or any(mark in url for mark in "?# \\"):
        raise InvalidInput(f"CAREGRANT_PUBLIC_URL is an https URL without query and fragment, not {url!r}")
    base = url.rstrip("/")
    return {"policy_decision_point": url, **{name: base + path for name, path in _ENDPOINTS.items()}}


def _signed(described: dict[str, Any], key_file: str) -> dict[str, Any]:
    """With `signed_metadata` (9.1.3), where there is a key: the same values, and who issued them."""
    if not key_file:
        return described
    key = signing_key(key_file)
    claims = {"iss": described["policy_decision_point"], **described}
    return {**described, "signed_metadata": jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key)}
