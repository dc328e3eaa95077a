"""Tokens for the next page of a search (AuthZEN 8.2): signed, and good for the same question of the same caller alone.

A token holds the page's limit and the id that it goes on after. The key is a secret in the database, so that every
process and machine on it agrees.
"""

import base64
import binascii
import hashlib
import hmac
import json
from functools import cached_property
from typing import Any

from authz.database import Database, database_connection
from authz.errors import InvalidInput
from authz.models import Secret

_MAC = 16


class PageTokens:
    """Gives out and reads the tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _key(self) -> bytes:
        with database_connection(self._database):
            (found,) = Secret.select(Secret.value).where(Secret.name == "page").tuples().execute(self._database)
        return bytes.fromhex(found[0])

    def issue(self, question: Any, limit: int, after: str) -> str:
        """The token for what follows `after`; `question` is all that must be the same when it comes back, as JSON."""
        told = f"{limit} {after}".encode()
        return base64.urlsafe_b64encode(self._mac(question, told) + told).decode().rstrip("=")

    def read(self, question: Any, token: str, limit: int | None) -> tuple[int, str]:
        """The limit and the id to go on after. Raises `InvalidInput` for a token of another question, or of nobody."""
        try:
            whole = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput("is none that was given out") from error
        mac, told = whole[:_MAC], whole[_MAC:]
        if not hmac.compare_digest(mac, self._mac(question, told)):
            raise InvalidInput("was given out for another question, or by nobody")
        size, _, after = told.decode().partition(" ")
        if limit not in (None, int(size)):
            raise InvalidInput(f"was given out for the limit {size}")
        return int(size), after

    def _mac(self, question: Any, told: bytes) -> bytes:
        asked = json.dumps(question, sort_keys=True, separators=(",", ":")).encode()
        return hmac.digest(self._key, hashlib.sha256(asked).digest() + told, "sha256")[:_MAC]
