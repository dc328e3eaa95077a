"""Transfer: the patient moves to a colleague, who may transfer them back (H2, H5; R3, R6)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from authz.domain import Row
from authz.errors import Conflict
from authz.operations.idempotency import IdempotencyKey
from authz.operations.transaction import Change, bounded, check_several, each, perform
from authz.policy.pdp import PDP
from authz.record import Actor


@dataclass(frozen=True)
class Transferred:
    """Who owned the patient and who owns them now, and the shares that stay with the new owner."""

    patient: str
    owner: str
    previous_owner: str
    kept_shares: tuple[Row, ...]


def transfer(
    pdp: PDP,
    *,
    actor: Actor,
    patients: Sequence[str],
    colleague: str,
    reason: str = "",
    end_shares: bool = False,
    receiver: str | None = None,
    holders: Mapping[str, Collection[str]] | None = None,
    idempotency_key: IdempotencyKey | None = None,
) -> list[Transferred]:
    """Transfer patients to the colleague of this login: all of them or none.

    The sender's grant ends and the colleague's begins at one instant; a share that the colleague had is absorbed.
    Others' shares stay and are the new owner's from then on, unless `end_shares`. Raises as `share` does.

    `receiver` is the id that the login stands for, and `holders` the ids of those with a grant on each patient, as the
    caller saw them: if something else holds, a `Conflict` says so and nothing is done.
    """
    why = bounded(reason)
    check_several(patients)

    def work(change: Change) -> list[Transferred]:
        person = change.colleague(colleague)
        owner = person.id
        if receiver not in (None, owner):
            raise Conflict("This e-mail is another colleague's now.")

        def one(patient: str) -> Transferred:
            change.foresee(patient, [(actor.practitioner, "transfer"), (owner, "receive")])
            change.permit("transfer", ("patient", patient))
            where = change.subscriptions[patient]
            change.receive(person, ("patient", patient))
            sender, *shares = change.live_grants(patient)
            if holders is not None and {one["practitioner"] for one in (sender, *shares)} != set(holders[patient]):
                raise Conflict("Who has access has changed in the meantime.")
            if sender["practitioner"] == owner:
                raise Conflict("This colleague is the owner already.")
            ended = [one for one in shares if end_shares or one["practitioner"] == owner]
            kept = tuple(one for one in shares if one not in ended)
            for grant in (sender, *ended):
                change.end("grant", where, grant, "transfer")
            columns = {"practitioner": owner, "role": "owner", "origin": "transfer", "reason": why}
            change.start("grant", where, patient=patient, **columns)
            change.notify("transfer:received", owner, sender["practitioner"], where, patient)
            change.notify("transfer:given", sender["practitioner"], owner, where, patient)
            for grant in ended:
                if grant["practitioner"] != owner:
                    change.notify("share:ended", grant["practitioner"], sender["practitioner"], where, patient)
                    change.notify("share:ended", sender["practitioner"], grant["practitioner"], where, patient)
            return Transferred(patient, owner, sender["practitioner"], kept)

        return each(patients, one)

    return perform(
        pdp, actor, work, idempotency_key=idempotency_key, action="transfer", patients=patients, colleague=colleague
    )
