"""Between the HTTP server and Flask: requests are received whole, each kind has its own threads, probes never wait.

`receiving` receives requests from granian (ASGI), `lanes` carries them out, `environ` makes Flask's environment of a
request, `proxies` decides which proxies are trusted, `refusals` makes the gateway's own answers.
"""

from api.gateway.receiving import STOPS, Gateway

__all__ = ["STOPS", "Gateway"]
