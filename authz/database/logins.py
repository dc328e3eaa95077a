"""The check, before an upgrade, that every stored login has the form in which release 0.2 compares logins."""

from typing import Any

from authz.domain import normalise_login
from authz.errors import InvalidInput

_MOST_NAMED = 20


def require_normal_logins(database: Any) -> None:
    """Refuse an upgrade if `normalise_login` changes or refuses a stored login; write nothing.

    Raises `InvalidInput` with the ids of the practitioners, never their logins. A database without the table is new.
    """
    if not database.table_exists("practitioner"):
        return
    faults: list[str] = []
    holders: dict[str, list[str]] = {}
    for practitioner, login in database.execute_sql("SELECT id, login FROM practitioner ORDER BY id").fetchall():
        try:
            normal = normalise_login(login)
        except InvalidInput:
            faults.append(f"{practitioner} (cannot be a login)")
            continue
        holders.setdefault(normal, []).append(practitioner)
        if normal != login:
            faults.append(f"{practitioner} (has another spelling now)")
    faults += [f"{' and '.join(ids)} (are one login now)" for ids in holders.values() if len(ids) > 1]
    if faults:
        more = f" and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
        raise InvalidInput(
            "the schema was not changed, because logins are compared in another form now. Give each of these "
            "practitioners the login of their identity provider (PUT /v1/practitioners/<id> of the release that ran "
            f"until now), then migrate again: {', '.join(faults[:_MOST_NAMED])}{more}"
        )
