"""Whether the reader may read something: asked of the PDP, and recorded."""

from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from authz.policy.refusal import refusal_of
from authz.record import Actor, RecordedQuestion, record_decisions, search_decision


def is_permitted(pdp: PDP, actor: Actor, action: str, resource: Ref) -> bool:
    """Return whether the practitioner may do this, and record the decision."""
    subject = ("practitioner", actor.practitioner)
    decision = pdp.evaluate(subject, action, resource, now=actor.now, tenant=actor.tenant)
    record_decisions(pdp.database, actor, [(RecordedQuestion(subject, action, resource), decision)])
    return decision.allowed


def require_permission(pdp: PDP, actor: Actor, action: str, resource: Ref) -> None:
    """Refuse the read unless the practitioner may do this, and record the decision.

    Raises `Denied` if they may know of the resource, else `NotFound`.
    """
    if not is_permitted(pdp, actor, action, resource):
        subject = ("practitioner", actor.practitioner)
        raise refusal_of(
            action,
            resource[0],
            lambda other: pdp.evaluate(subject, other, resource, now=actor.now, tenant=actor.tenant).allowed,
        )


def record_search(pdp: PDP, actor: Actor, action: str, resource: Ref, size: int | None = None) -> None:
    """Record that the practitioner searched, and how many were found."""
    question = RecordedQuestion(("practitioner", actor.practitioner), action, resource, size=size)
    record_decisions(pdp.database, actor, [(question, search_decision(actor, pdp.version))])
