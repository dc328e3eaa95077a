"""`/openapi.json`, the OpenAPI 3.1 document, and `/docs`, a page made from it that needs no network.

Made from Flask's own list of routes, what stands beside each view (`described`), its docstring, and the models of the
bodies; so there is nothing to keep in step. Tests hold the service to the document.
"""

import base64
import hashlib
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, current_app, render_template
from pydantic import TypeAdapter
from werkzeug.routing import Rule

from api.errors import PROBLEMS
from api.ops.described import Description
from api.v1.responses import Problem
from authz.callers.clients import SCOPES
from authz.domain import Row

openapi = Blueprint("openapi", __name__, template_folder="../web/templates")

_REF = "#/components/schemas/{model}"
_TAGS = {
    "access": "AuthZEN",
    "v1": "Practitioners, apps acting for them, operators",
    "feed": "Change feed",
}
_PATHS = {
    "patient": "p-1",
    "grant": "1",
    "share": "1",
    "notification": "1",
    "subscription": "north",
    "practitioner": "pete",
    "kind": "document",
    "entity": "d-1",
    "tenant": "tenant",
}
"""The parts of paths, each with an example."""
_ERRORS = {"access": (400, 401, 403, 413, 429, 503), "v1": (400, 401, 403, 404, 409, 413, 422, 429, 503)}
_CALLERS = {
    "": "Anybody.",
    "practitioner": "A practitioner's token, or an app with the scope act on behalf of one.",
    "manager": "An app with the scope admin, or a manager of the subscription, as a practitioner.",
    **{scope: f"An app with the scope {scope}." for scope in SCOPES},
}


@openapi.get("/openapi.json")
def openapi_document() -> Response:
    """This document."""
    return Response(_made(current_app), content_type="application/json")


@openapi.get("/docs")
def docs() -> Response:
    """The same for people to read."""
    document = orjson.loads(_made(current_app))
    page = render_template("docs.html", document=document, operations=list(_listed(document)), style=_STYLE)
    hashed = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = f"default-src 'none'; style-src 'sha256-{hashed}'"
    return response


def _made(app: Flask) -> bytes:
    if "caregrant.openapi" not in app.extensions:
        app.extensions["caregrant.openapi"] = orjson.dumps(document_of(app))
    made: bytes = app.extensions["caregrant.openapi"]
    return made


def document_of(app: Flask) -> Row:
    """The document of an app's described routes."""
    schemas: Row = {}
    paths: dict[str, Row] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        description = getattr(app.view_functions[rule.endpoint], "described", None)
        if description is None:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            paths.setdefault(path, {})[method.lower()] = _operation(app, rule, description, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Caregrant",
            "version": version("caregrant"),
            "summary": "Who may view, share or transfer a patient: decisions, the changes behind them, and why.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": _schema(Problem, schemas), **schemas},
            "responses": {str(status): _refusal(status) for status in sorted({one for one, _ in PROBLEMS.values()})},
            "securitySchemes": {
                "app": {"type": "http", "scheme": "bearer", "description": "An app's key (caregrant client add)."},
                "practitioner": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _operation(app: Flask, rule: Rule, said: Description, schemas: Row) -> Row:
    view = app.view_functions[rule.endpoint]
    blueprint = rule.endpoint.partition(".")[0]
    through = {"practitioner", "manager"} & {said.caller}
    made: Row = {
        "operationId": f"{rule.endpoint.partition('.')[2]}{'_in' if 'tenant' in rule.arguments else ''}",
        "summary": (inspect.getdoc(view) or "").split("\n")[0],
        "description": _CALLERS[said.caller],
        "tags": [_TAGS.get(blueprint, "Around it")],
        "security": [{"app": []}, *([{"practitioner": []}] if through else [])] if said.caller else [],
        "parameters": [*_parameters(rule, said, bool(through))],
        "responses": {str(said.status): _given(said, schemas)},
    }
    statuses = _ERRORS["access" if blueprint == "access" else "v1"] if said.caller else (400, 404, 503)
    made["responses"] |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}
    if said.takes is not None:
        content: Row = {"schema": _schema(said.takes, schemas, "validation")}
        if said.example is not None:
            content["example"] = said.example
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
    return made


def _parameters(rule: Rule, said: Description, through: bool) -> Iterator[Row]:
    for name in sorted(rule.arguments):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": _PATHS[name]}
    for one in said.query:
        yield {"name": one.name, "in": "query", "schema": one.schema, "description": one.description}
    headers: dict[str, tuple[Row, str]] = {}
    headers["X-Request-ID"] = _visible(0, 256), "Comes back with the answer, and is recorded."
    if through:
        on_behalf = "With an app's key: the login of the practitioner for whom it acts."
        headers["X-On-Behalf-Of"] = {"type": "string"}, on_behalf
    if said.idempotency_key:
        idempotency_key = "The same key and request again is carried out once, and answered alike."
        headers["Idempotency-Key"] = _visible(1, 255), idempotency_key
    for name, (schema, text) in headers.items():
        yield {"name": name, "in": "header", "schema": schema, "description": text}


def _visible(least: int, most: int) -> Row:
    """Visible characters, as far as a header can carry them."""
    return {"type": "string", "minLength": least, "maxLength": most, "pattern": "^[ -~¡-¬®-ÿ]*$"}


def _given(said: Description, schemas: Row) -> Row:
    if said.gives is None:
        return {"description": "Done."}
    content = {"schema": _schema(said.gives, schemas)}
    return {"description": inspect.getdoc(said.gives) or "", "content": {"application/json": content}}


def _refusal(status: int) -> Row:
    titles = [f"{title} (/problems/{kind})" for kind, (one, title) in PROBLEMS.items() if one == status]
    schema = {"$ref": _REF.format(model="Problem")}
    return {"description": "; ".join(titles), "content": {"application/problem+json": {"schema": schema}}}


def _schema(model: Any, schemas: Row, mode: Any = "serialization") -> Row:
    """A model's schema as a reference; it and what it is made of go to `schemas`."""
    made = TypeAdapter(model).json_schema(mode=mode, ref_template=_REF)
    found = {**made.pop("$defs", {}), model.__name__: made}
    if model is Problem:
        schemas.update({name: one for name, one in found.items() if name != "Problem"})
        return made
    for name, one in found.items():
        assert schemas.setdefault(name, one) == one, f"two models are called {name}"
    return {"$ref": _REF.format(model=model.__name__)}


def _listed(document: Row) -> Iterator[tuple[str, str, Row]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: #f3f5f7; padding: .75rem; overflow-x: auto; }
summary { cursor: pointer; padding: .4rem 0; }
section { border-top: 1px solid #c9d1d9; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top; }
"""
