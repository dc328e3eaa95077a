"""Between the HTTP server and Flask: requests come in whole, each kind has threads of its own, probes never wait.

`receiving` takes requests from granian (ASGI), `lanes` carries them out, `environ` and `proxies` say what Flask sees.
"""

from api.gateway.receiving import Gateway

__all__ = ["Gateway"]
