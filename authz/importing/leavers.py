"""The shares of practitioners who left with a batch, as far as no line names them (R11)."""

from authz.database.statements import run
from authz.importing.batch import ImportBatch
from authz.importing.rows import GRANT_COLUMNS, GrantLife, Key, Life, stored_grant
from authz.operations.leaving import held_shares

_STANDING_SHARES = """
    SELECT owner_id, colleague_id, subscription_id, started_at, ended_at, id, content, given_by, ended_by
    FROM standing_share WHERE (owner_id = {} OR colleague_id = {}) AND subscription_id = {}
    AND ended_at > {} AND ended_at > started_at ORDER BY id"""


def cut_standing_shares(batch: ImportBatch) -> list[tuple[Key, Life]]:
    """End the stored standing shares of leavers that the batch has not read; return them by their keys."""
    seen = {life.id for lives in batch.stored.standing_shares.values() for life in lives}
    cut: list[tuple[Key, Life]] = []
    for practitioner, subscription in sorted(batch.leavers):
        values = (practitioner, practitioner, subscription, batch.now)
        for *key, started, ended, number, content, given_by, ended_by in run(batch.database, _STANDING_SHARES, *values):
            if number not in seen:
                seen.add(number)
                other = {"content": content, "given_by": given_by, "reason": "", "ended_by": ended_by}
                cut.append((tuple(key), Life(started, ended, number, other)))
    for _, life in cut:
        life.cut(batch.now)
    return cut


def cut_grants(batch: ImportBatch) -> list[tuple[str, GrantLife]]:
    """End the stored shares of leavers that the batch has not read; return them with their patients."""
    seen = {grant.id for state in batch.stored.patients.values() for grant in state.grants}
    numbers = {
        number
        for practitioner, subscription in sorted(batch.leavers)
        for number, _ in held_shares(batch.database, practitioner, subscription, batch.now)
        if number not in seen
    }
    rows = batch.stored.select(f'SELECT {GRANT_COLUMNS} FROM "grant" WHERE id', numbers)
    cut = [(patient, stored_grant(columns)) for patient, *columns in rows]
    for _, grant in cut:
        grant.cut(batch.now)
    return cut
