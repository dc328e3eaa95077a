"""`/openapi.json`, the OpenAPI 3.1 document, and `/docs`, a page made from it that needs no network.

The document is made from Flask's list of routes, the documentation and the docstring of each view, and the models of
the bodies, so that nothing has to be kept in step by hand. Tests check the service against the document.
"""

import base64
import hashlib
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version

import orjson
from flask import Blueprint, Flask, Response, current_app, render_template
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode
from werkzeug.routing import Rule

from api.errors import PROBLEMS
from api.ops.route_documentation import RouteDocumentation
from api.v1.responses import ProblemBody
from authz.callers.clients import SCOPES
from authz.domain import Row

openapi = Blueprint("openapi", __name__, template_folder="../web/templates")

_REF = "#/components/schemas/{model}"
_TAGS = {
    "access": "AuthZEN",
    "v1": "Practitioners, apps acting for them, operators",
    "feed": "Change feed",
}
_PATH_EXAMPLES = {
    "patient": "p-1",
    "emergency": "1",
    "grant": "1",
    "share": "1",
    "notification": "1",
    "subscription": "north",
    "practitioner": "pete",
    "kind": "document",
    "entity": "d-1",
    "tenant": "tenant",
}
"""An example for each variable part of a path."""
_ERRORS = {"access": (400, 401, 403, 413, 429, 503), "v1": (400, 401, 403, 404, 409, 413, 422, 429, 503)}
_CALLERS = {
    "": "Anybody.",
    "practitioner": "A practitioner with a token, or an app with the scope act on behalf of a practitioner.",
    "manager": "An app with the scope admin, or a manager of the subscription, as a practitioner.",
    **{scope: f"An app with the scope {scope}." for scope in SCOPES},
}


@openapi.get("/openapi.json")
def openapi_document() -> Response:
    """Return this document."""
    return Response(_serialize_document(current_app), content_type="application/json")


@openapi.get("/docs")
def docs() -> Response:
    """Return this document as a page for people."""
    document = orjson.loads(_serialize_document(current_app))
    page = render_template("docs.html", document=document, operations=list(_operations(document)), style=_STYLE)
    style_hash = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = f"default-src 'none'; style-src 'sha256-{style_hash}'"
    return response


def _serialize_document(app: Flask) -> bytes:
    if "caregrant.openapi" not in app.extensions:
        app.extensions["caregrant.openapi"] = orjson.dumps(document_of(app))
    document: bytes = app.extensions["caregrant.openapi"]
    return document


def document_of(app: Flask) -> Row:
    """Return the OpenAPI document of an app's documented routes."""
    schemas: Row = {}
    paths: dict[str, Row] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        documentation = getattr(app.view_functions[rule.endpoint], "documentation", None)
        if documentation is None:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            paths.setdefault(path, {})[method.lower()] = _operation(app, rule, documentation, schemas)
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
            "schemas": {"ProblemBody": _schema(ProblemBody, schemas), **schemas},
            "responses": {str(status): _error_response(status) for status in sorted({s for s, _ in PROBLEMS.values()})},
            "securitySchemes": {
                "app": {"type": "http", "scheme": "bearer", "description": "An app's key (caregrant client add)."},
                "practitioner": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _operation(app: Flask, rule: Rule, documentation: RouteDocumentation, schemas: Row) -> Row:
    view = app.view_functions[rule.endpoint]
    blueprint = rule.endpoint.partition(".")[0]
    on_behalf = documentation.caller in ("practitioner", "manager")
    security: list[Row] = [{"app": []}, *([{"practitioner": []}] if on_behalf else [])] if documentation.caller else []
    operation: Row = {
        "operationId": f"{rule.endpoint.partition('.')[2]}{'_in' if 'tenant' in rule.arguments else ''}",
        "summary": (inspect.getdoc(view) or "").split("\n")[0],
        "description": _CALLERS[documentation.caller],
        "tags": [_TAGS.get(blueprint, "Service")],
        "security": security,
        "parameters": [*_parameters(rule, documentation, on_behalf)],
        "responses": {str(documentation.status): _success_response(documentation, schemas)},
    }
    statuses = _ERRORS["access" if blueprint == "access" else "v1"] if documentation.caller else (400, 404, 503)
    operation["responses"] |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}
    if documentation.request_body is not None:
        content: Row = {"schema": _schema(documentation.request_body, schemas, "validation")}
        if documentation.example is not None:
            content["example"] = documentation.example
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _parameters(rule: Rule, documentation: RouteDocumentation, on_behalf: bool) -> Iterator[Row]:
    for name in sorted(rule.arguments):
        schema = {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema, "example": _PATH_EXAMPLES[name]}
    for parameter in documentation.query:
        yield {
            "name": parameter.name,
            "in": "query",
            "schema": parameter.schema,
            "description": parameter.description,
        }
    request_id = "The id of the request: the response repeats it, and the record keeps it."
    yield _header("X-Request-ID", _visible_text(0, 256), request_id)
    if on_behalf:
        login = "With the key of an app: the login of the practitioner for whom the app acts."
        yield _header("X-On-Behalf-Of", {"type": "string"}, login)
    if documentation.idempotency_key:
        key = "A repetition of the request with the same key gets the stored answer and changes nothing."
        yield _header("Idempotency-Key", _visible_text(1, 255), key)


def _header(name: str, schema: Row, description: str) -> Row:
    return {"name": name, "in": "header", "schema": schema, "description": description}


def _visible_text(least: int, most: int) -> Row:
    """Return the schema of a text of the visible characters that a header can carry."""
    return {"type": "string", "minLength": least, "maxLength": most, "pattern": "^[ -~¡-¬®-ÿ]*$"}


def _success_response(documentation: RouteDocumentation, schemas: Row) -> Row:
    model = documentation.response_body
    if model is None:
        return {"description": "Done."}
    content = {"schema": _schema(model, schemas)}
    return {"description": inspect.getdoc(model) or "", "content": {"application/json": content}}


def _error_response(status: int) -> Row:
    titles = [f"{title} (/problems/{kind})" for kind, (of_kind, title) in PROBLEMS.items() if of_kind == status]
    schema = {"$ref": _REF.format(model="ProblemBody")}
    return {"description": "; ".join(titles), "content": {"application/problem+json": {"schema": schema}}}


def _schema(model: type[BaseModel], schemas: Row, mode: JsonSchemaMode = "serialization") -> Row:
    """Return a reference to a model's schema; add the schemas of the model and of its parts to `schemas`."""
    schema = model.model_json_schema(mode=mode, ref_template=_REF)
    parts = {**schema.pop("$defs", {}), model.__name__: schema}
    if model is ProblemBody:
        schemas.update({name: part for name, part in parts.items() if name != "ProblemBody"})
        return schema
    for name, part in parts.items():
        assert schemas.setdefault(name, part) == part, f"two models have the name {name}"
    return {"$ref": _REF.format(model=model.__name__)}


def _operations(document: Row) -> Iterator[tuple[str, str, Row]]:
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
