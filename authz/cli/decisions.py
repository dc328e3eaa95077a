"""The commands `check`, `who` and `what`: questions to the policy decision point."""

import sys
from collections.abc import Iterator
from datetime import datetime

import click

from authz.audit.catalog.known_ids import require_known_ref
from authz.cli.options import RefType, as_json, at_instant, open_decider, setting, settings, with_context, write_json
from authz.domain import REASONS, format_instant
from authz.errors import InvalidInput
from authz.policy.compiler import CompiledPolicy
from authz.policy.compiler.refusals import suggest
from authz.policy.decision import Explanation, Ref
from authz.policy.pdp import PDP

UNKNOWN = 3
"""The exit code of `check` for a type, an action or an id that does not exist."""


@click.command()
@click.argument("subject", type=RefType())
@click.argument("action")
@click.argument("resource", type=RefType())
@with_context
@click.option(
    "--explain", is_flag=True, help="Show which conditions are met and which are not, for each rule that could permit."
)
@at_instant
@as_json
@setting("database")
@setting("policies")
def check(
    subject: Ref,
    action: str,
    resource: Ref,
    context: dict[str, object],
    explain: bool,
    at: datetime | None,
    todays_policy: bool,
    as_json: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """May SUBJECT do ACTION to RESOURCE? Exit 0: allowed, 1: denied, 3: unknown.

    A type, an action or an id that does not exist is denied, too; standard error names it.

    \b
    caregrant check practitioner:alice view patient:p-1
    caregrant check practitioner:dan view patient:p-1 --explain
    caregrant check practitioner:bob view patient:p-3 --at 2026-01-31T09:00:00Z
    caregrant check practitioner:bob view patient:p-1 --context '{"purpose": "treatment"}'
    """
    chosen = settings(database=database, policies=policies)
    with open_decider(chosen, policies) as pdp:
        decider = _pdp_at(pdp, at, todays_policy)
        unknown = [*_unknown_names(decider.policy, subject[0], action, resource[0]), *_unknown(pdp, subject, resource)]
        request = {"context": context}
        if explain:
            explanation = decider.explain(subject, action, resource, now=at, request=request)
        else:
            decision = decider.evaluate(subject, action, resource, now=at, request=request)
            explanation = Explanation(decision, ())
    if as_json:
        write_json(_serialize(explanation, explain))
    else:
        _write_explanation(explanation, explain)
    for error in unknown:
        click.echo(f"caregrant: {error}", err=True)
    sys.exit(0 if explanation.decision.allowed else UNKNOWN if unknown else 1)


def _pdp_at(pdp: PDP, at: datetime | None, todays_policy: bool) -> PDP:
    """Return the decision point of the policy that was in force at an instant, unless today's policy is asked for."""
    return pdp if at is None or todays_policy else pdp.in_force(at)


def _serialize(explanation: Explanation, explain: bool) -> dict[str, object]:
    decision = explanation.decision
    body: dict[str, object] = {
        "decision": decision.allowed,
        "reason": decision.reason,
        "rule": decision.rule,
        "rules": decision.rules,
        "grant": _id(decision.grant),
        "standing_share": _id(decision.standing_share),
        "until": format_instant(decision.until) if decision.until else None,
        "policy_version": decision.policy_version,
        "evaluated_at": format_instant(decision.evaluated_at),
    }
    if explain:
        body["ways"] = explanation.serialize()
    return body


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)


def _write_explanation(explanation: Explanation, explain: bool) -> None:
    decision = explanation.decision
    if decision.allowed:
        parts = [f"rule {decision.rule}" if decision.rule else "by a rule without a number"]
        parts += [f"grant {decision.grant}"] if decision.grant is not None else []
        parts += [f"standing share {decision.standing_share}"] if decision.standing_share is not None else []
        parts += [f"until {format_instant(decision.until)}"] if decision.until else []
        click.echo(f"allowed: {', '.join(parts)}")
    else:
        detail = f": {decision.detail}" if decision.detail else ""
        click.echo(f"denied: {REASONS[decision.reason]}{detail}")
    for derivation in explanation.derivations if explain else ():
        verdict = "does not permit" if derivation.unmet else "permits"
        sentence = f": {derivation.sentence}" if derivation.sentence else ""
        click.echo(f"\n{derivation.rule or 'a rule without a number'} ({verdict}){sentence}")
        for condition in derivation.met:
            click.echo(f"  met    {condition}")
        for condition in derivation.unmet:
            click.echo(f"  UNMET  {condition}")


@click.command()
@click.argument("action")
@click.argument("resource", type=RefType())
@click.option(
    "--type", "subject_type", default="practitioner", show_default=True, help="The type of subject to look for."
)
@with_context
@at_instant
@as_json
@setting("database")
@setting("policies")
def who(
    action: str,
    resource: Ref,
    subject_type: str,
    context: dict[str, object],
    at: datetime | None,
    todays_policy: bool,
    as_json: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """List who may do ACTION to RESOURCE, one id a line, in order.

    \b
    caregrant who view patient:p-1
    """
    chosen = settings(database=database, policies=policies)
    with open_decider(chosen, policies) as pdp:
        decider = _pdp_at(pdp, at, todays_policy)
        _require_known(pdp, decider.policy, (subject_type, action, resource[0]), resource)
        request = {"context": context}
        _write_ids(decider.search_subjects(subject_type, action, resource, now=at, request=request), as_json)


@click.command()
@click.argument("subject", type=RefType())
@click.argument("action")
@click.argument("resource_type", metavar="TYPE")
@with_context
@at_instant
@as_json
@setting("database")
@setting("policies")
def what(
    subject: Ref,
    action: str,
    resource_type: str,
    context: dict[str, object],
    at: datetime | None,
    todays_policy: bool,
    as_json: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """List the resources of TYPE that SUBJECT may do ACTION to, one id a line, in order.

    \b
    caregrant what practitioner:alice view patient
    """
    chosen = settings(database=database, policies=policies)
    with open_decider(chosen, policies) as pdp:
        decider = _pdp_at(pdp, at, todays_policy)
        _require_known(pdp, decider.policy, (subject[0], action, resource_type), subject)
        request = {"context": context}
        _write_ids(decider.search_resources(subject, action, resource_type, now=at, request=request), as_json)


def _unknown(pdp: PDP, *refs: Ref) -> list[InvalidInput]:
    """Return an error for each id that does not exist; the decision stays the one that an app would get."""
    errors = []
    for ref in refs:
        try:
            require_known_ref(pdp.database, ref)
        except InvalidInput as error:
            errors.append(error)
    return errors


def _unknown_names(policy: CompiledPolicy, subject: str, action: str, resource: str) -> Iterator[InvalidInput]:
    """Yield an error for each type, and for the action, that the policy does not know."""
    types = {declared.name: declared.polar for declared in policy.types.types.values()}
    for name in dict.fromkeys((subject, resource)):
        if name not in types:
            yield InvalidInput(f"no type {name}{suggest(name, types)}")
    if subject in types and resource in types:
        queries = policy.queries.get((types[subject], types[resource]), ())
        actions = list(dict.fromkeys(query.action for query in queries))
        if None not in actions and action not in actions:
            known = f"; there are {', '.join(map(str, actions))}" if actions else ""
            yield InvalidInput(f"no rule names the action {action} of a {subject} on a {resource}{known}")


def _require_known(pdp: PDP, policy: CompiledPolicy, names: tuple[str, str, str], ref: Ref) -> None:
    """Raise `InvalidInput` for a type, an action or an id that does not exist; an empty list would look like an answer.

    `names` are the subject's type, the action and the resource's type.
    """
    for error in _unknown_names(policy, *names):
        raise error
    require_known_ref(pdp.database, ref)


def _write_ids(ids: list[str], as_json: bool) -> None:
    if as_json:
        write_json(ids)
    else:
        for name in ids:
            click.echo(name)
