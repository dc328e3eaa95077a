"""Logins in their new form: nothing is rewritten; the upgrade is refused until each stored login is in it.

`authz.database.migrate` asks before the first pending migration, so that a refusal changes nothing; here the same is
asked in the transaction that records this migration.
"""

from typing import Any

from authz.database.logins import require_normal_logins


def up(migrator: Any, db: Any) -> None:
    require_normal_logins(db)
