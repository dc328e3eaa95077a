"""Explanations: from the row of probes to the derivations, with the conditions that are met and unmet.

    (true, true, true, false, true)
    →  Derivation(met=("R1: there is a live membership …",), unmet=("R2: there is no live grant …",))

The first probes say whether the subject and the resource exist. Then each condition has two probes: whether the
condition is met, and whether it was met before or will be met later.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from authz.policy.compiler import Clause, Query
from authz.policy.decision import Derivation, Ref
from authz.policy.plans import Probes

_ANOTHER_TIME = " (there is one that has ended or has not begun)"


def explain_row(
    probes: Probes, row: Sequence[object], subject: Ref, resource: Ref, sentences: Mapping[str, str], tenant: bool
) -> tuple[Derivation, ...]:
    """Return the derivations of a pair, the nearest first: those with the fewest unmet conditions.

    `sentences` are the policy's sentences by rule number. `tenant` says that the question names a tenant: there are no
    derivations then if the subject or the resource does not belong to the tenant.
    """
    known, answers = any(row[: probes.existence]), iter(row[probes.existence :])
    if tenant and not known:
        return ()
    derivations = [_derive(query, clauses, answers, sentences) for query, clauses in probes.sentences]
    if not known:
        absent = f"there is no such {subject[0]} or no such {resource[0]}"
        derivations = [replace(each, unmet=(*each.unmet, absent)) for each in derivations]
    return tuple(sorted(derivations, key=lambda each: (len(each.unmet), -each.met_at_another_time)))


def _derive(
    query: Query, clauses: Sequence[Clause], answers: Iterator[object], sentences: Mapping[str, str]
) -> Derivation:
    """Return one derivation; `answers` has two values for each clause: met now, and met at some time."""
    met, unmet, first_unmet_rule, met_at_another_time = [], [], None, 0
    for clause in clauses:
        is_met, is_met_anytime = bool(next(answers)), bool(next(answers))
        prefix = f"{clause.rule}: " if clause.rule else ""
        if is_met:
            met.append(prefix + clause.met)
            continue
        first_unmet_rule = first_unmet_rule or clause.rule
        at_another_time = is_met_anytime and clause.anytime is not None
        met_at_another_time += at_another_time
        unmet.append(prefix + clause.unmet + (_ANOTHER_TIME if at_another_time else ""))
    rule = query.rules[0] if query.rules else None
    sentence = sentences.get(rule or "", "")
    return Derivation(rule, query.rules, tuple(met), tuple(unmet), first_unmet_rule, met_at_another_time, sentence)
