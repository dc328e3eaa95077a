"""The command `policy diff`: who gains and who loses what if one policy replaces another, on the facts of a database.

The exit code is for a pull request: 0 the policies give the same, 1 they differ, 2 they cannot be compared.
"""

import html
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice

import click

from authz.cli.options import now, open_database, parse_at, setting, settings, write_json
from authz.cli.policy import load_named, policy, read_context
from authz.domain import Row, format_instant
from authz.errors import CaregrantError, InvalidInput
from authz.policy.compiler import CompiledPolicy
from authz.policy.containment import Containment, compare_policies
from authz.policy.difference import MatrixName, PermitChange, PolicyDifference
from authz.policy.pdp import PDP

_SAME, _DIFFERS, _UNREADABLE = 0, 1, 2
_LISTED = 100


@policy.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--at", metavar="TIME", callback=parse_at, help="Compare on the facts of a past instant (RFC 3339).")
@click.option("--context", metavar="JSON", help="Compare for requests with this context.")
@click.option("--max-gain", metavar="N", type=click.IntRange(0), help="Exit 0 if at most N permits are gained.")
@click.option("--without-data", is_flag=True, help="Say only what holds on every database; no database is needed.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(0), help=f"How many are listed [{_LISTED}; with --format json: all]."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "html"]),
    default="table",
    show_default=True,
    help="The form.",
)
@setting("database")
def diff(
    old: str,
    new: str,
    at: datetime | None,
    context: str | None,
    max_gain: int | None,
    without_data: bool,
    limit: int | None,
    form: str,
    database: str | None,
) -> None:
    """Show who gains and who loses what if NEW replaces OLD, and by which rule, on the facts of a database.

    Each is a directory, a version that served here, or `active`. Exit 0: they give the same, 1: they differ, 2: they
    cannot be compared.
    """
    try:
        url = settings(database=database).database
        if without_data:
            sys.exit(_write_verdicts(load_named(old, url), load_named(new, url), form))
        connected = open_database(url)
        before, after = (PDP(connected, load_named(name, connected)) for name in (old, new))
        difference = PolicyDifference(before, after, at or now(), read_context(context))
        writers = {"table": _write_table, "json": _write_json, "html": _write_html}
        writers[form](difference, limit)
    except CaregrantError as error:
        click.echo(f"caregrant: {error}", err=True)
        sys.exit(_UNREADABLE)
    differs = difference.gained + difference.lost > 0 if max_gain is None else difference.gained > max_gain
    sys.exit(_DIFFERS if differs or difference.unset_values else _SAME)


def _write_verdicts(old: CompiledPolicy, new: CompiledPolicy, form: str) -> int:
    """Write the verdict on each action, and return the exit code: 0 if all are the same. Raises `InvalidInput`."""
    if form == "html":
        raise InvalidInput("--without-data writes a table or JSON")
    verdicts = compare_policies(old, new)
    for name, verdict in verdicts.items():
        if form == "json":
            subject_type, action, resource_type = name
            row = {"subject_type": subject_type, "action": action, "resource_type": resource_type, "verdict": verdict}
            write_json(row)
        else:
            click.echo(f"{' '.join(name)}: {verdict}")
    return _SAME if set(verdicts.values()) <= {"same"} else _DIFFERS


def _listed(difference: PolicyDifference, limit: int | None) -> Iterator[PermitChange]:
    """Yield the changes up to the limit, and read the rest, so that all are counted."""
    changes = difference.changes()
    yield from islice(changes, limit)
    for _ in changes:
        pass


def _totals(difference: PolicyDifference) -> Row:
    """Return the counts of a difference that was read to its end."""
    return {
        "old": _versions(difference)[0],
        "new": _versions(difference)[1],
        "at": format_instant(difference.now),
        "gained": difference.gained,
        "lost": difference.lost,
        "by_rule": [
            {
                "subject_type": name[0],
                "action": name[1],
                "resource_type": name[2],
                "rule": rule or None,
                "change": _verb(gained),
                "permits": count,
            }
            for (name, gained, rule), count in sorted(difference.by_rule.items())
        ],
        "depends_on": difference.unset_values,
        "proven": [
            {"subject_type": name[0], "action": name[1], "resource_type": name[2], "verdict": verdict}
            for name, verdict in _proven(difference).items()
        ],
    }


def _versions(difference: PolicyDifference) -> tuple[str, str]:
    return "" if difference.old is None else difference.old.version, difference.new.version


def _verb(gained: bool) -> str:
    return "gained" if gained else "lost"


def _write_json(difference: PolicyDifference, limit: int | None) -> None:
    """Write a JSON object for each change, and the counts at the end, each on a line of its own."""
    for change in _listed(difference, limit):
        write_json(
            {
                "change": _verb(change.gained),
                "subject": ":".join(change.subject),
                "action": change.action,
                "resource": ":".join(change.resource),
                "rule": change.rule,
                "grant": None if change.grant is None else str(change.grant),
            }
        )
    write_json(_totals(difference))


def _cells(change: PermitChange) -> tuple[str, ...]:
    return _verb(change.gained), ":".join(change.subject), change.action, ":".join(change.resource), change.rule or "-"


def _write_table(difference: PolicyDifference, limit: int | None) -> None:
    for change in _listed(difference, _LISTED if limit is None else limit):
        click.echo("  ".join(_cells(change)))
    for line in chain(_describe_counts(difference), _describe_limits(difference)):
        click.echo(line)


def _describe_counts(difference: PolicyDifference) -> Iterator[str]:
    """Yield the counts as lines: of each action and rule, then of all."""
    for (name, gained, rule), count in sorted(difference.by_rule.items()):
        yield f"{' '.join(name)}: {count} {_verb(gained)} by {rule or 'a rule without a number'}"
    for name, verdict in _proven(difference).items():
        yield f"{' '.join(name)}: {verdict} on every database"
    yield f"{difference.gained} permits gained, {difference.lost} lost"


def _proven(difference: PolicyDifference) -> dict[MatrixName, Containment]:
    """Return what is proven, without the facts, of the actions that are not the same."""
    verdicts = {} if difference.old is None else compare_policies(difference.old.policy, difference.new.policy)
    return {name: verdict for name, verdict in verdicts.items() if verdict in ("narrower", "wider")}


def _describe_limits(difference: PolicyDifference) -> Iterable[str]:
    """Return what the difference does not say."""
    values = ", ".join(difference.unset_values)
    if not values:
        return ()
    return (f"not shown: what may differ for requests with {values}; --context compares such requests",)


def _write_html(difference: PolicyDifference, limit: int | None) -> None:
    """Write a page that needs nothing else: the list first, as it is found, and the counts below."""
    old, new = (version[:12] for version in _versions(difference))
    title = html.escape(f"From policy {old} to {new}, on the facts of {format_instant(difference.now)}")
    click.echo(f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n<h1>{title}</h1>')
    heads = "".join(f'<th scope="col">{name}' for name in ("Change", "Subject", "Action", "Resource", "Rule"))
    click.echo(f"<table>\n<thead><tr>{heads}\n<tbody>")
    for change in _listed(difference, _LISTED if limit is None else limit):
        click.echo("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in _cells(change)))
    click.echo("</table>")
    for line in chain(_describe_counts(difference), _describe_limits(difference)):
        click.echo(f"<p>{html.escape(line)}</p>")
