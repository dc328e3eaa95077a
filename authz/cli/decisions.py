"""`check`, `who` and `what`: questions to the decision point."""

import sys
from datetime import datetime

import click

from authz.audit.catalog.known_ids import require_known_ref
from authz.cli.options import RefType, as_json, at_instant, setting, settings, write_json
from authz.domain import REASONS, format_instant
from authz.errors import InvalidInput
from authz.policy.decision import Explanation, Ref
from authz.policy.pdp import PDP, open_pdp


@click.command()
@click.argument("subject", type=RefType())
@click.argument("action")
@click.argument("resource", type=RefType())
@click.option(
    "--explain", is_flag=True, help="Say which conditions are met and which are not, for each way to a permit."
)
@at_instant
@as_json
@setting("database")
@setting("policies")
def check(
    subject: Ref,
    action: str,
    resource: Ref,
    explain: bool,
    at: datetime | None,
    todays_policy: bool,
    as_json: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """May SUBJECT do ACTION to RESOURCE? Exit 0 allowed, 1 denied. An id that is not there is denied, and named.

    \b
    caregrant check practitioner:alice view patient:p-1
    caregrant check practitioner:dan view patient:p-1 --explain
    caregrant check practitioner:bob view patient:p-3 --at 2026-01-31T09:00:00Z
    """
    chosen = settings(database=database, policies=policies)
    with open_pdp(chosen.database, chosen.policies) as pdp:
        decider = _decider(pdp, at, todays_policy)
        unknown = _unknown(pdp, subject, resource)
        if explain:
            told = decider.explain(subject, action, resource, now=at)
        else:
            told = Explanation(decider.evaluate(subject, action, resource, now=at), ())
    if as_json:
        write_json(_as_json(told, explain))
    else:
        _say(told, explain)
    for error in unknown:
        click.echo(f"caregrant: {error}", err=True)
    sys.exit(0 if told.decision.allowed else 1)


def _decider(pdp: PDP, at: datetime | None, todays_policy: bool) -> PDP:
    """Who answers about an instant: the policy that was in force then, if it is another than now."""
    return pdp if at is None or todays_policy else pdp.in_force(at)


def _as_json(told: Explanation, explain: bool) -> dict[str, object]:
    decision = told.decision
    said: dict[str, object] = {
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
        said["ways"] = told.serialize()
    return said


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)


def _say(told: Explanation, explain: bool) -> None:
    decision = told.decision
    if decision.allowed:
        parts = [f"rule {decision.rule}" if decision.rule else "by a rule without a number"]
        parts += [f"grant {decision.grant}"] if decision.grant is not None else []
        parts += [f"standing share {decision.standing_share}"] if decision.standing_share is not None else []
        parts += [f"until {format_instant(decision.until)}"] if decision.until else []
        click.echo(f"allowed: {', '.join(parts)}")
    else:
        click.echo(f"denied: {REASONS[decision.reason]}")
    for way in told.derivations if explain else ():
        click.echo(f"\n{way.rule or 'a rule without a number'} ({'does not permit' if way.unmet else 'permits'})")
        for sentence in way.met:
            click.echo(f"  met    {sentence}")
        for sentence in way.unmet:
            click.echo(f"  UNMET  {sentence}")


@click.command()
@click.argument("action")
@click.argument("resource", type=RefType())
@click.option(
    "--type", "subject_type", default="practitioner", show_default=True, help="The type of subject looked for."
)
@at_instant
@as_json
@setting("database")
@setting("policies")
def who(
    action: str,
    resource: Ref,
    subject_type: str,
    at: datetime | None,
    todays_policy: bool,
    as_json: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """Who may do ACTION to RESOURCE? One id a line, in order.

    \b
    caregrant who view patient:p-1
    """
    chosen = settings(database=database, policies=policies)
    with open_pdp(chosen.database, chosen.policies) as pdp:
        _require_known(pdp, resource)
        _list(_decider(pdp, at, todays_policy).search_subjects(subject_type, action, resource, now=at), as_json)


@click.command()
@click.argument("subject", type=RefType())
@click.argument("action")
@click.argument("resource_type", metavar="TYPE")
@at_instant
@as_json
@setting("database")
@setting("policies")
def what(
    subject: Ref,
    action: str,
    resource_type: str,
    at: datetime | None,
    todays_policy: bool,
    as_json: bool,
    database: str | None,
    policies: str | None,
) -> None:
    """What of TYPE may SUBJECT do ACTION to? One id a line, in order.

    \b
    caregrant what practitioner:alice view patient
    """
    chosen = settings(database=database, policies=policies)
    with open_pdp(chosen.database, chosen.policies) as pdp:
        _require_known(pdp, subject)
        _list(_decider(pdp, at, todays_policy).search_resources(subject, action, resource_type, now=at), as_json)


def _unknown(pdp: PDP, *refs: Ref) -> list[InvalidInput]:
    """What is wrong with ids that are not there: a decision is one all the same, as an app would get it."""
    errors = []
    for ref in refs:
        try:
            require_known_ref(pdp.database, ref)
        except InvalidInput as error:
            errors.append(error)
    return errors


def _require_known(pdp: PDP, *refs: Ref) -> None:
    """Raise `InvalidInput` for an id that is not there: whoever types it is not to read that nobody may."""
    for ref in refs:
        require_known_ref(pdp.database, ref)


def _list(ids: list[str], as_json: bool) -> None:
    if as_json:
        write_json(ids)
    else:
        for one in ids:
            click.echo(one)
