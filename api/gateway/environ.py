"""The WSGI environment (PEP 3333) of a request that granian gives by ASGI, which hands over the bytes of headers."""

import sys
from functools import lru_cache
from io import BytesIO
from typing import Any

from api.gateway.proxies import Proxies

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")
_HIDDEN = frozenset((*FORWARDED, "HTTP_FORWARDED", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_PROXY"))
"""Headers that Flask never sees: what they say is believed of trusted proxies alone, and put where Flask looks."""

_SAME = {
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
    """Return the variable of a header; empty for a name that another header could be mistaken for."""
    if b"_" in name:
        return ""
    variable = name.decode("latin-1").upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"


def environ(scope: dict[str, Any], body: bytes, proxies: Proxies) -> dict[str, Any]:
    """Return the environment of a request with its whole body; its texts are bytes written as latin-1.

    A header with an underscore in its name is left out: it would be the same variable as one with a hyphen.
    """
    made: dict[str, Any] = {**_SAME, "wsgi.input": BytesIO(body)}
    for name, value in scope["headers"]:
        variable = _variable(name)
        if variable:
            text = value.decode("latin-1")
            made[variable] = f"{made[variable]}{'; ' if name == b'cookie' else ','}{text}" if variable in made else text
    peer, scheme = scope["client"][0], scope["scheme"]
    if proxies.trusts(peer):
        forwarded = made.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        scheme = forwarded if forwarded in ("http", "https") else scheme
        peer = proxies.client(peer, made.get("HTTP_X_FORWARDED_FOR", ""))
    for name in _HIDDEN & made.keys():
        del made[name]
    path = scope["path"]
    made["REQUEST_METHOD"] = scope["method"]
    made["PATH_INFO"] = path if path.isascii() else path.encode("utf-8", "replace").decode("latin-1")
    made["QUERY_STRING"] = scope["query_string"].decode("latin-1")
    made["REMOTE_ADDR"], made["wsgi.url_scheme"] = peer, scheme
    made["SERVER_NAME"], made["SERVER_PORT"] = scope["server"]
    made["CONTENT_LENGTH"] = str(len(body))
    made.pop("HTTP_TRANSFER_ENCODING", None)  # the body is whole
    return made
