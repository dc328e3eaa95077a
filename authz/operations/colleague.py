"""Who a login stands for, in the same time whether or not there is anybody (T1)."""

import uuid
from typing import NamedTuple

from authz.database import Database
from authz.database.pending import Pending
from authz.database.statements import run
from authz.domain import normalise_login
from authz.errors import InvalidInput

_BY_LOGIN = "SELECT id, login, name FROM practitioner WHERE login = {}"


class Person(NamedTuple):
    """A practitioner as their colleagues know them."""

    id: str
    login: str
    name: str


def ask_person(database: Database, login: str) -> Pending[Person]:
    """Look up the practitioner with a login.

    For an unknown login the result is a person with a new id, whom nothing permits: every later question is asked about
    them too, so that the refusal takes as long.
    """
    try:
        normal = normalise_login(login)
    except InvalidInput:
        normal = ""  # nobody's login, looked up all the same: what cannot be a login takes as long to refuse
    cursor = run(database, _BY_LOGIN, normal)

    def read() -> Person:
        row = cursor.fetchone()
        return Person(*row) if row else Person(str(uuid.uuid4()), "", "")

    return Pending(read)
