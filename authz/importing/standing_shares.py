"""Lines about standing shares."""

from authz.errors import InvalidInput
from authz.importing.batch import ImportBatch
from authz.importing.lives import Fields, Outcome, change_end, match_life
from authz.importing.rows import Life


def apply_standing_share(batch: ImportBatch, fields: Fields, started: int) -> Outcome:
    """Begin a standing share, change its end, or replace it by one with or without content from now on."""
    owner, colleague, subscription = fields["owner"], fields["colleague"], fields["subscription"]
    batch.stored.require_subscription(subscription)
    for practitioner in (owner, colleague):
        batch.stored.require_practitioner(practitioner)
        batch.stored.require_membership(practitioner, subscription)
    if owner == colleague:
        raise InvalidInput(f"{owner} shares with themselves")
    key, content = (owner, colleague, subscription), fields.get("content", False)
    lives = batch.stored.standing_shares[key]
    other = {"content": content, "given_by": "", "reason": fields.get("reason", ""), "ended_by": ""}
    match = match_life(lives, fields, started, batch.now)
    if not isinstance(match, Life):
        return batch.put_life("standing_share", key, lives, fields, started, other)
    life = _last_of_chain(match, lives)
    if life.ended <= batch.now or bool(life.other["content"]) == content:
        return change_end(life, fields["until"], lives, batch.now)
    if life.started >= batch.now:
        raise InvalidInput(f"{owner} shares with {colleague} in this file already, with other content")
    life.move_end(batch.now, "imported")
    until = max(fields["until"], batch.now)
    batch.begin_life("standing_share", key, lives, Life(batch.now, until, other=other))
    return "changed"


def _last_of_chain(life: Life, lives: list[Life]) -> Life:
    """Return the last of the lives that follow this one without a gap: each replaced the one before."""
    while life.is_lasting:
        following = next((other for other in lives if other is not life and other.started == life.ended), None)
        if following is None:
            break
        life = following
    return life
