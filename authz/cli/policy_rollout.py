"""The commands `policy activate` and `policy rollback`: a policy is examined, and then decides in every service.

What does not compile, what the database cannot run, what fails the tests beside it, and what lets in more than
`--max-gain` permits is refused, and the policy in force stays. The activation is one transaction: a command that dies
before its end has changed nothing.
"""

import click

from authz.cli.options import as_json, now, open_database, setting, settings, write_json
from authz.cli.policy import load_named, policy, read_context
from authz.database import Database
from authz.errors import Conflict, InvalidInput, PolicyUnknown
from authz.policy.compiler import CompiledPolicy
from authz.policy.difference import PolicyDifference
from authz.policy.pdp import PDP
from authz.policy.plan import Request
from authz.policy.preparation import require_preparable
from authz.policy_tests import read_stories, run_stories, story_files
from authz.record import Actor, list_served_policies
from authz.record.policies import Activation, activate_policy, version_before
from authz.texts import parse_text

_AUTHOR = click.option("--author", required=True, metavar="NAME", help="Who activates it, as it is recorded.")
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why, as it is recorded.")
_MAX_GAIN = click.option(
    "--max-gain",
    metavar="N",
    type=click.IntRange(0),
    help="Refuse a policy that gives more than N permits on the facts.",
)
_CONTEXT = click.option(
    "--context", metavar="JSON", help="With --max-gain: count the permits of requests with this context."
)


@policy.command("activate")
@click.argument("name", metavar="DIRECTORY|VERSION")
@_AUTHOR
@_REASON
@_MAX_GAIN
@_CONTEXT
@as_json
@setting("database")
def activate(
    name: str,
    author: str,
    reason: str,
    max_gain: int | None,
    context: str | None,
    as_json: bool,
    database: str | None,
) -> None:
    """Let every service of this database decide by a policy, within a second. If it is refused, the old one stays."""
    connected = open_database(settings(database=database).database)
    before = _version_in_force(connected)
    chosen = load_named(name, connected)
    _require_tests_pass(name, chosen)
    counts = _examine(connected, chosen, before, max_gain, read_context(context))
    activation = Activation(name, parse_text(author), parse_text(reason), *counts)
    _activate(connected, chosen, activation, before, as_json)


@policy.command("rollback")
@_AUTHOR
@_REASON
@_MAX_GAIN
@_CONTEXT
@as_json
@setting("database")
def rollback(
    author: str, reason: str, max_gain: int | None, context: str | None, as_json: bool, database: str | None
) -> None:
    """Activate the policy that was in force before this one; repeated, the one before that."""
    connected = open_database(settings(database=database).database)
    before = _version_in_force(connected)
    version = version_before(list_served_policies(connected))
    if version is None:
        raise InvalidInput("there is no policy to return to: no other was in force here before")
    chosen = load_named(version, connected)
    counts = _examine(connected, chosen, before, max_gain, read_context(context))
    activation = Activation("rollback", parse_text(author), parse_text(reason), *counts, rollback=True)
    _activate(connected, chosen, activation, before, as_json)


def _version_in_force(database: Database) -> str | None:
    periods = list_served_policies(database)
    return periods[-1].version if periods else None


def _require_tests_pass(name: str, chosen: CompiledPolicy) -> None:
    """Raise `Conflict` if a folder's tests do not pass, and `PolicyRefused` if they cannot be read."""
    if not story_files(name):
        return
    results = run_stories(chosen, read_stories(name, chosen))
    if results.failures:
        raise Conflict(
            f"{len(results.failures)} of {len(results.outcomes)} questions of the policy's tests are not answered as "
            f"expected; see: caregrant policy test {name}"
        )


def _examine(
    database: Database, chosen: CompiledPolicy, before: str | None, max_gain: int | None, request: Request
) -> tuple[int | None, int | None]:
    """Return how many permits a policy gives and takes, None if `max_gain` does not ask for it.

    Raises `PolicyRefused` for a policy that the database cannot run, and `Conflict` for one that gives too many.
    """
    require_preparable(chosen, database)
    return (None, None) if max_gain is None else _require_few_gains(database, chosen, before, max_gain, request)


def _require_few_gains(
    database: Database, chosen: CompiledPolicy, before: str | None, max_gain: int, request: Request
) -> tuple[int, int]:
    """Count the permits that a policy gives and takes. Raises `Conflict` for more than `max_gain` new ones."""
    new = PDP(database, chosen)
    old = _pdp_in_force(new, before)
    difference = PolicyDifference(old, new, now(), request)
    if difference.unset_values:
        raise Conflict(
            f"what this policy gives cannot be counted: it depends on {', '.join(difference.unset_values)}; "
            "say by --context which requests to count, or activate it without --max-gain"
        )
    for _ in difference.changes():
        if difference.gained > max_gain:
            raise Conflict(f"this policy gives more than {max_gain} new permits; see: caregrant policy diff")
    return difference.gained, difference.lost


def _pdp_in_force(new: PDP, before: str | None) -> PDP | None:
    """Return the PDP of the policy in force. Raises `Conflict` if its text is not kept: nothing can be compared."""
    try:
        return None if before is None else new.of_version(before)
    except PolicyUnknown as error:
        raise Conflict(f"what this policy gives cannot be counted: {error}") from error


def _activate(
    database: Database, chosen: CompiledPolicy, activation: Activation, before: str | None, as_json: bool
) -> None:
    new = activate_policy(database, Actor("", now()), chosen, activation, before=before)
    if as_json:
        write_json(
            {
                "version": chosen.version,
                "previous": before,
                "activated": new,
                "gained": activation.gained,
                "lost": activation.lost,
            }
        )
        return
    counted = "" if activation.gained is None else f", {activation.gained} permits gained, {activation.lost} lost"
    click.echo(f"{'activated' if new else 'active already:'} {chosen.version[:12]}{counted}")
