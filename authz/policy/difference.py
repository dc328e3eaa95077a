"""The difference of two policies on the facts of one database: which permits only one of them gives, and by which rule.

    old: (alice, p-1), (bob, p-1)      new: (alice, p-1), (carol, p-1)
    →  bob loses p-1, carol gains p-1

Each policy gives its access matrix for an action in the order of subject and resource, and the two are merged: memory
does not grow with the number of permits. An action whose statement is the same in both policies is not asked.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from authz.policy.compiler import CompiledPolicy, Query
from authz.policy.decision import MatrixEntry, Ref
from authz.policy.pdp import PDP
from authz.policy.plan import Request
from authz.policy.plans import Question

ANY_ACTION = "any action"
"""Stands for the actions that no rule names, if a rule permits every action."""

MatrixName = tuple[str, str, str]
"""The subject type, action and resource type of an access matrix."""


class PermitChange(NamedTuple):
    """A permit that only the new policy gives (`gained`) or only the old one, with its rule and grant."""

    gained: bool
    subject: Ref
    action: str
    resource: Ref
    rule: str | None
    grant: int | None


@dataclass
class PolicyDifference:
    """The difference of two policies on the facts at the instant `now`, and its counts.

    Without an old policy everything is gained. `request` has the values that conditions read from a request; a value
    that is absent there is nil. `gained`, `lost` and `kept` (which both policies give) count what was read so far of
    the matrices that are not computed alike, `by_rule` what was gained and lost of each matrix by each rule.
    """

    old: PDP | None
    new: PDP
    now: datetime
    request: Request = field(default_factory=dict)
    gained: int = 0
    lost: int = 0
    kept: int = 0
    by_rule: Counter[tuple[MatrixName, bool, str]] = field(default_factory=Counter)

    def changes(self) -> Iterator[PermitChange]:
        """Yield the permits that only one of the policies gives, matrix by matrix, in order; count them.

        Raises `Unavailable` if the database cannot answer.
        """
        for name in changed_matrices(self.old, self.new):
            for gained, entry in self._merged(name):
                self.gained += gained
                self.lost += not gained
                self.by_rule[name, gained, entry.rule or ""] += 1
                subject, resource = (name[0], entry.subject), (name[2], entry.resource)
                yield PermitChange(gained, subject, name[1], resource, entry.rule, entry.grant)

    @property
    def unset_values(self) -> list[str]:
        """The values, such as ``context.purpose``, that `request` lacks and on which differing decisions depend."""
        return sorted({value for values in self.undecided.values() for value in values})

    @property
    def undecided(self) -> dict[MatrixName, list[str]]:
        """The matrices whose decisions may differ for some request where the matrices are the same, with the values."""
        names = matrix_names(*_policies(self.old, self.new))
        changed = [name for name in names if not _is_same(self.old, self.new, "evaluation", name)]
        return {name: values for name in changed if (values := self._unset_of(name))}

    def _unset_of(self, name: MatrixName) -> list[str]:
        plans = [pdp.plan_of("evaluation", *name) for pdp in (self.old, self.new) if pdp is not None]
        values = {value for plan in plans if plan is not None for value in plan.requested}
        values |= _sent_ends(name, *_policies(self.old, self.new))
        return sorted(value for value in values if not _has_value(self.request, value))

    def _merged(self, name: MatrixName) -> Iterator[tuple[bool, MatrixEntry]]:
        """Yield the entries that only one of two matrices has, each with whether it is the new one."""
        old = iter(()) if self.old is None else self.old.matrix(*name, now=self.now, request=self.request)
        new = self.new.matrix(*name, now=self.now, request=self.request)
        before, after = next(old, None), next(new, None)
        while before is not None or after is not None:
            if after is None or (before is not None and before[:2] < after[:2]):
                assert before is not None
                yield False, before
                before = next(old, None)
            elif before is None or after[:2] < before[:2]:
                yield True, after
                after = next(new, None)
            else:
                self.kept += 1
                before, after = next(old, None), next(new, None)


def changed_matrices(old: PDP | None, new: PDP) -> list[MatrixName]:
    """Return the matrices that two policies do not compute by the same statement, in the order of the new policy.

    A type that is not stored has no matrix: its rows come with the question.
    """
    policies = _policies(old, new)
    stored = [name for name in matrix_names(*policies) if not _sent_ends(name, *policies)]
    return [name for name in stored if not _is_same(old, new, "matrix", name)]


def matrix_names(*policies: CompiledPolicy) -> Iterable[MatrixName]:
    """Return the access matrices of policies, in the order of the last one."""
    return dict.fromkeys(name for policy in policies[::-1] for name in _names_of(policy))


def _names_of(policy: CompiledPolicy) -> Iterator[MatrixName]:
    for (subject, resource), queries in policy.queries.items():
        types = policy.types.types
        for action in dict.fromkeys(query.action or ANY_ACTION for query in queries):
            yield types[subject].name, action, types[resource].name


def queries_of(policy: CompiledPolicy, name: MatrixName) -> tuple[Query, ...]:
    """Return the queries by which a policy gives the permits of an access matrix."""
    subject, resource = (policy.types.named(kind) for kind in (name[0], name[2]))
    if subject is None or resource is None:
        return ()
    queries = policy.queries.get((subject.polar, resource.polar), ())
    return tuple(query for query in queries if query.action in (name[1], None))


def _policies(old: PDP | None, new: PDP) -> list[CompiledPolicy]:
    return [pdp.policy for pdp in (old, new) if pdp is not None]


def _sent_ends(name: MatrixName, *policies: CompiledPolicy) -> set[str]:
    """Return the ends of a matrix, ``subject`` or ``resource``, whose type is not stored in one of the policies."""
    ends = {"subject": name[0], "resource": name[2]}
    types = [(end, policy.types.named(kind)) for end, kind in ends.items() for policy in policies]
    return {end for end, kind in types if kind is not None and not kind.stored}


def _is_same(old: PDP | None, new: PDP, question: Question, name: MatrixName) -> bool:
    """Return whether two policies answer a kind of question by the same statement."""
    before, after = None if old is None else old.plan_of(question, *name), new.plan_of(question, *name)
    if before is None or after is None:
        return before is after
    return before.is_same_statement(after)


def _has_value(request: Request, value: str) -> bool:
    """Return whether a request has a value such as ``context.purpose``."""
    member: object = request
    for part in value.split("."):
        member = member.get(part) if isinstance(member, Mapping) else None
    return member is not None
