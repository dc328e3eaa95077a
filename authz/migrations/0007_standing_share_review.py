"""Access reviews of standing shares: a review is of a grant or of a standing share."""

from typing import Any

_EITHER = "CHECK ((grant_id IS NULL) <> (standing_share_id IS NULL))"
_SQLITE = [
    "ALTER TABLE review RENAME TO review_of_grants",
    "DROP INDEX review_grant_id",
    "DROP INDEX review_campaign_grant_id",
    f"""CREATE TABLE review (id INTEGER NOT NULL PRIMARY KEY, at INTEGER NOT NULL, campaign TEXT NOT NULL,
        subscription_id TEXT NOT NULL REFERENCES subscription (id), grant_id INTEGER REFERENCES "grant" (id),
        standing_share_id INTEGER REFERENCES standing_share (id),
        reviewer_id TEXT NOT NULL REFERENCES practitioner (id),
        verdict TEXT NOT NULL CHECK (verdict IN ('keep', 'revoke')), due_at INTEGER NOT NULL, {_EITHER})""",
    """INSERT INTO review SELECT id, at, campaign, subscription_id, grant_id, NULL, reviewer_id, verdict, due_at
        FROM review_of_grants""",
    "DROP TABLE review_of_grants",
    "CREATE INDEX review_grant_id ON review (grant_id)",
    "CREATE UNIQUE INDEX review_campaign_grant_id ON review (campaign, grant_id)",
    *(
        f"CREATE TRIGGER review_{timing.lower()} BEFORE {timing} ON review "
        "BEGIN SELECT RAISE(ABORT, 'review is append-only'); END"
        for timing in ("UPDATE", "DELETE")
    ),
]
_POSTGRESQL = [
    "ALTER TABLE review ALTER COLUMN grant_id DROP NOT NULL",
    "ALTER TABLE review ADD COLUMN standing_share_id BIGINT REFERENCES standing_share (id)",
    f"ALTER TABLE review ADD {_EITHER}",
]
_INDEXES = [
    "CREATE INDEX review_standing_share_id ON review (standing_share_id)",
    "CREATE UNIQUE INDEX review_campaign_standing_share_id ON review (campaign, standing_share_id)",
]


def up(migrator: Any, db: Any) -> None:
    for statement in [*(_SQLITE if db.dialect == "sqlite" else _POSTGRESQL), *_INDEXES]:
        db.execute_sql(statement)
