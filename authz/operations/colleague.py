"""Find the practitioner with a login. The time of the answer does not tell whether the login exists (T1)."""

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


def find_person(database: Database, login: str) -> Pending[Person]:
    """Look up the practitioner with a login.

    For an unknown login the result is a person with a new id, to whom no rule permits anything. The operation asks the
    same questions about this person, so that the refusal takes as long as for a real one.
    """
    try:
        normal = normalise_login(login)
    except InvalidInput:
        normal = ""  # the empty login, which nobody has, is looked up, so that the refusal takes as long
    cursor = run(database, _BY_LOGIN, normal)

    def read() -> Person:
        row = cursor.fetchone()
        return Person(*row) if row else Person(str(uuid.uuid4()), "", "")

    return Pending(read)
