"""A small OpenID Connect provider on a port of its own: discovery, authorisation code, token with PKCE, keys.

It signs everybody in at once with `claims`. It signs by RS256 and forgets a code that was used.
"""

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, abort, jsonify, redirect, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

CLIENT, SECRET = "caregrant-pages", "the client's secret"


@dataclass
class Provider:
    """The provider's keys, claims and codes, and the faults that a test sets."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, auto_kid=True))
    other_key: RSAKey | None = None
    user_info: dict[str, Any] | None = None
    more_keys: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    sign_outs: list[dict[str, str]] = field(default_factory=list)
    hidden_kid: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: list[str] = field(default_factory=list)
    challenges: list[str] = field(default_factory=list)


def application(provider: Provider) -> Flask:
    """Return the provider's endpoints."""
    app = Flask("provider")

    @app.get("/.well-known/openid-configuration")
    def discovery() -> Response:
        endpoints = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        if provider.user_info is not None:
            endpoints["userinfo_endpoint"] = "userinfo"
        metadata = {
            "issuer": provider.issuer,
            **{name: f"{provider.issuer}/{path}" for name, path in endpoints.items()},
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            **provider.metadata,
        }
        return jsonify(metadata)

    @app.get("/userinfo")
    def userinfo() -> Response:
        if request.headers["Authorization"].removeprefix("Bearer ") not in provider.access:
            abort(401)
        return jsonify(provider.user_info)

    @app.get("/end")
    def end() -> Any:
        query = request.args.to_dict()
        provider.sign_outs.append(query)
        return redirect(f"{query['post_logout_redirect_uri']}?{urlencode({'state': query['state']})}")

    @app.get("/authorize")
    def authorize() -> Any:
        query = request.args.to_dict()
        assert (query["response_type"], query["client_id"], query["code_challenge_method"]) == ("code", CLIENT, "S256")
        code = secrets.token_urlsafe()
        provider.codes[code] = query
        provider.challenges.append(query["code_challenge"])
        return redirect(f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}")

    @app.post("/token")
    def token() -> Response:
        known = request.authorization
        if known is None or (known.username, known.password) != (CLIENT, SECRET):
            abort(401)
        query = provider.codes.pop(request.form["code"], None)
        digest = hashlib.sha256(request.form["code_verifier"].encode()).digest()
        proof = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if query is None or proof != query["code_challenge"] or query["redirect_uri"] != request.form["redirect_uri"]:
            abort(400)
        now = int(time.time())
        claims = {"iss": provider.issuer, "aud": CLIENT, "sub": "s-1", "iat": now, "exp": now + 60}
        claims |= {"nonce": query["nonce"], **provider.claims}
        signer = provider.other_key or provider.key
        header = {"alg": "RS256"} if provider.hidden_kid else {"alg": "RS256", "kid": provider.key.kid}
        signed = jwt.encode(header, claims, signer)
        provider.access.append(secrets.token_urlsafe())
        body = {"access_token": provider.access[-1], "token_type": "Bearer", "expires_in": 60, "id_token": signed}
        return jsonify(body)

    @app.get("/jwks")
    def jwks() -> Response:
        return jsonify(keys=[*provider.more_keys, provider.key.as_dict(private=False)])

    return app


@contextmanager
def running() -> Iterator[Provider]:
    """Run the provider."""
    provider = Provider()
    server = make_server("127.0.0.1", 0, application(provider), threaded=True)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
