"""The WSGI environment (PEP 3333) of a request that granian delivers by ASGI, which has headers as bytes."""

import sys
from functools import lru_cache
from io import BytesIO
from typing import Any

from api.gateway.proxies import Proxies
from api.request_context import BODY

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")
_HIDDEN = frozenset((*FORWARDED, "HTTP_FORWARDED", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_PROXY"))
"""Headers that Flask never sees. Of a trusted proxy, their values become the client's address and scheme."""

_CONSTANT = {
    "SCRIPT_NAME": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


@lru_cache(maxsize=1000)
def _variable(name: bytes) -> str:
    """Return the variable of a header; empty for a name with an underscore, which another header could share."""
    if b"_" in name:
        return ""
    variable = name.decode("latin-1").upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"


def environ(scope: dict[str, Any], body: bytes, proxies: Proxies) -> dict[str, object]:
    """Return the environment of a request with its whole body; texts are bytes written as Latin-1.

    A header with an underscore in its name is left out, because it would become the variable of a header with a hyphen.
    """
    variables: dict[str, Any] = {**_CONSTANT, "wsgi.input": BytesIO(body), BODY: body}
    for name, value in scope["headers"]:
        variable = _variable(name)
        if variable:
            text = value.decode("latin-1")
            separator = "; " if name == b"cookie" else ","
            variables[variable] = f"{variables[variable]}{separator}{text}" if variable in variables else text
    peer, scheme = scope["client"][0], scope["scheme"]
    if proxies.trusts(peer):
        forwarded = variables.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        scheme = forwarded if forwarded in ("http", "https") else scheme
        peer = proxies.client(peer, variables.get("HTTP_X_FORWARDED_FOR", ""))
    for name in _HIDDEN & variables.keys():
        del variables[name]
    path = scope["path"]
    variables["REQUEST_METHOD"] = scope["method"]
    variables["PATH_INFO"] = path if path.isascii() else path.encode("utf-8", "replace").decode("latin-1")
    variables["QUERY_STRING"] = scope["query_string"].decode("latin-1")
    variables["REMOTE_ADDR"], variables["wsgi.url_scheme"] = peer, scheme
    variables["SERVER_NAME"], variables["SERVER_PORT"] = scope["server"]
    variables["CONTENT_LENGTH"] = str(len(body))
    variables.pop("HTTP_TRANSFER_ENCODING", None)  # the body is whole
    return variables
