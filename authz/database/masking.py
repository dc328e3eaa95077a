"""Database URLs that may be displayed: without a password, whatever their form."""

import re

_SECRETS = re.compile(r"((?:ssl)?pass(?:word|file)?)=[^&\s]*", re.IGNORECASE)


def masked_url(url: str) -> str:
    """Return a URL with its password replaced by ``***``, even if the URL is malformed."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, separator, rest = url.partition(":")
    authority, at, place = rest.rpartition("@")
    if at:
        user = authority.partition(":")[0]
        rest = f"{user}:***@{place}" if ":" in authority else rest
    elif scheme != "sqlite":
        host, colon, after = rest.partition(":")
        port = re.split(r"[/?#,]", after, maxsplit=1)[0]
        if colon and "/" not in host and not port.isdigit():
            rest = f"{host}:***"
    return _SECRETS.sub(r"\1=***", f"{scheme}{separator}{rest}")
