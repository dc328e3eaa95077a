"""The AuthZEN metadata of this PDP (AuthZEN 9), made from the configuration and never from a request."""

from urllib.parse import urlsplit

import orjson
from flask import Blueprint, Flask, Response, current_app
from joserfc import jwt

from api.errors import Problem
from api.ops.route_documentation import document_route
from api.v1.responses import MetadataBody
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
    """Make the metadata of the settings, once. Raises `InvalidInput` for an invalid public URL."""
    url = settings.public_url
    app.extensions["caregrant.metadata"] = url and orjson.dumps(_sign(_make_metadata(url), settings.metadata_key))
    app.extensions["caregrant.path"] = urlsplit(url).path.strip("/")


@metadata.get(_WELL_KNOWN)
@metadata.get(f"{_WELL_KNOWN}/<path:tenant>")
@document_route(response_body=MetadataBody)
def authzen_configuration(tenant: str = "") -> Response:
    """Return the AuthZEN metadata of this PDP; the identifier's path, if any, follows the well-known string (9.2)."""
    document: bytes = current_app.extensions["caregrant.metadata"]
    if not document:
        raise Problem("not-found", "This service does not know its own URL, because CAREGRANT_PUBLIC_URL is not set.")
    if tenant != current_app.extensions["caregrant.path"]:
        raise NotFound
    return Response(document, content_type="application/json")


def _make_metadata(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not is_safe or not parts.hostname or parts.username or any(mark in url for mark in "?# \\"):
        raise InvalidInput(f"CAREGRANT_PUBLIC_URL is an https URL without query and fragment, not {url!r}")
    base = url.rstrip("/")
    return {"policy_decision_point": url, **{name: base + path for name, path in _ENDPOINTS.items()}}


def _sign(metadata: dict[str, str], key_file: str) -> dict[str, str]:
    """Add `signed_metadata` (9.1.3), if there is a key: a JWT with the same values and their issuer."""
    if not key_file:
        return metadata
    key = signing_key(key_file)
    claims = {"iss": metadata["policy_decision_point"], **metadata}
    return {**metadata, "signed_metadata": jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key)}
