"""Tokens for the next page of a search (AuthZEN 8.2): signed, and valid only for the same question of the same caller.

A token holds the page's limit and the last id of the previous page. The key is a secret in the database, so that every
process and machine on the database agrees.
"""

import base64
import binascii
import hashlib
import hmac
import json
from functools import cached_property

from authz.database import Database, database_connection
from authz.errors import InvalidInput
from authz.models import Secret

_MAC = 16


class PageTokens:
    """The issuer and reader of the tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _key(self) -> bytes:
        with database_connection(self._database):
            (row,) = Secret.select(Secret.value).where(Secret.name == "page").tuples().execute(self._database)
        return bytes.fromhex(row[0])

    def issue(self, question: object, limit: int, after: str) -> str:
        """Return the token of the page that follows the id `after`.

        `question` is JSON: everything that must be the same in the request that brings the token back.
        """
        content = f"{limit} {after}".encode()
        return base64.urlsafe_b64encode(self._mac(question, content) + content).decode().rstrip("=")

    def read(self, question: object, token: str, limit: int | None) -> tuple[int, str]:
        """Return the limit and the last id of the previous page.

        Raises `InvalidInput` for a token that was forged, or that was issued for another question or limit.
        """
        try:
            decoded = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput("is not a token of this service") from error
        mac, content = decoded[:_MAC], decoded[_MAC:]
        if not hmac.compare_digest(mac, self._mac(question, content)):
            raise InvalidInput("was issued for another question, or is not a token of this service")
        issued_limit, _, after = content.decode().partition(" ")
        if limit not in (None, int(issued_limit)):
            raise InvalidInput(f"was issued for the limit {issued_limit}")
        return int(issued_limit), after

    def _mac(self, question: object, content: bytes) -> bytes:
        canonical = json.dumps(question, sort_keys=True, separators=(",", ":")).encode()
        return hmac.digest(self._key, hashlib.sha256(canonical).digest() + content, "sha256")[:_MAC]
