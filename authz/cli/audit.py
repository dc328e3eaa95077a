"""The commands `audit …`: replay, verify, checkpoints, proofs, and the grants of an auditor's account."""

import sys
from typing import BinaryIO

import click

from authz.audit.export.log import names_of_trees, origin_of
from authz.audit.integrity.checkpoints import Signer, checkpoint, format_note, read_trusted
from authz.audit.integrity.proofs import Proof, prove_consistency, prove_decision, prove_event
from authz.audit.integrity.verdict import verdict_of
from authz.audit.integrity.verification import verify_database
from authz.audit.permissions import grant_statements
from authz.audit.verify import Malformed, decode_text, describe_report
from authz.cli.audit_export import drop, erase_command, export
from authz.cli.options import as_json, now, open_database, setting, settings, write_json
from authz.cli.progress import row_counter
from authz.database import Database
from authz.errors import InvalidInput
from authz.record import drain_or_count, replay_facts
from authz.texts import parse_number


@click.group()
def audit() -> None:
    """Verify, export and report on the record of every change and every decision."""


@audit.command("replay")
@click.option("--check", is_flag=True, help="Exit 1 if the events and the tables differ.")
@as_json
@setting("database")
def replay(check: bool, as_json: bool, database: str | None) -> None:
    """Rebuild the facts from the events alone, and list the differences to the tables."""
    read, differences, unproven = replay_facts(open_database(settings(database=database).database))
    if as_json:
        write_json(
            {"events": read, "differences": [vars(difference) for difference in differences], "unproven": unproven}
        )
    else:
        for difference in differences:
            click.echo(f"{difference.side} only: {difference.noun} {difference.row}")
        for entity in unproven:
            click.echo(f"no event tells the clinic of {entity}, which the upgrade to 0.2 chose")
        click.echo(f"{read} events replayed, {len(differences)} differences")
    sys.exit(1 if check and differences else 0)


@audit.command("key")
@click.option("--new", "name", metavar="NAME", help="Make a key for a log with this name, in a new file.")
@click.option("--trees", is_flag=True, help="Print a key for each tree, as tools of C2SP need it.")
@setting("checkpoint_key")
@setting("database")
def key_command(name: str | None, trees: bool, checkpoint_key: str | None, database: str | None) -> None:
    """Print the verifier key that belongs to the key that signs checkpoints. Give it to everybody who verifies."""
    chosen = settings(checkpoint_key=checkpoint_key, database=database)
    path = chosen.checkpoint_key
    if trees:
        key = Signer.read(path).key
        for tree in names_of_trees(open_database(chosen.database)):
            click.echo(key.of_tree(origin_of(key.name, tree)))
        return
    if name is not None and not path:
        raise InvalidInput("say where the key goes: CAREGRANT_CHECKPOINT_KEY or --checkpoint-key FILE")
    click.echo(Signer.read(path).key if name is None else Signer.make(path, name).key)


@audit.command("checkpoint")
@setting("checkpoint_key")
@setting("database")
def checkpoint_command(checkpoint_key: str | None, database: str | None) -> None:
    """Sign the present size and root of every tree, store the checkpoints and print them.

    Keep a copy in a place where nobody of this service can write. If a tree does not begin with the leaves that were
    signed before, nothing is signed: exit 1.
    """
    chosen = settings(checkpoint_key=checkpoint_key, database=database)
    notes = checkpoint(open_database(chosen.database), Signer.read(chosen.checkpoint_key), now())
    click.echo("\n".join(format_note(note) for note in notes), nl=False)


@audit.command("verify")
@click.option("--checkpoint", "kept", type=click.File("rb"), help="A file of checkpoints that you kept.")
@click.option(
    "--key", metavar="KEY", help="The verifier key; by default the key of CAREGRANT_CHECKPOINT_KEY, if it is set."
)
@as_json
@setting("checkpoint_key")
@setting("database")
def verify(
    kept: BinaryIO | None, key: str | None, as_json: bool, checkpoint_key: str | None, database: str | None
) -> None:
    """Hash every row again, and compare the trees with every checkpoint.

    Exit 0: VERIFIED. 3: PARTLY VERIFIED, nothing is wrong and something is not proven. 1: NOT VERIFIED.
    """
    chosen = settings(checkpoint_key=checkpoint_key, database=database)
    checkpoints = _read_text(kept) if kept is not None else ""
    if key is None:
        signed, key = read_trusted(chosen.checkpoint_key)
        checkpoints = f"{checkpoints}\n{signed}"
    connected = open_database(chosen.database)
    waiting = drain_or_count(connected)
    with row_counter("verifying") as progress:
        report = verify_database(connected, checkpoints, key, chosen.database, now(), waiting, progress)
    verdict = verdict_of(report)
    if as_json:
        trees = [
            {"tree": tree.name, "size": tree.builder.size, "proven": tree.proven, "root": tree.builder.root.hex()}
            for tree in report.trees
        ]
        counted = {"rows": report.rows, "unsealed": report.unsealed, "dropped": report.dropped}
        findings = [vars(finding) for finding in report.findings]
        write_json({"ok": report.ok, **verdict._asdict(), **counted, "trees": trees, "findings": findings})
    else:
        for line in describe_report(report):
            click.echo(line)
    sys.exit(verdict.exit_code)


@audit.command("prove")
@click.argument("row", required=False, metavar="[ROW]")
@click.option(
    "--since", type=click.File("rb"), help="A file of checkpoints that you kept: prove that the last ones extend them."
)
@setting("database")
def prove(row: str | None, since: BinaryIO | None, database: str | None) -> None:
    """Prove that ROW (event:ID or decision:ID) is in a signed tree, or that the trees extend earlier checkpoints.

    Writes one JSON object a line, for authz/audit/verify.py --proof.
    """
    if (row is None) == (since is None):
        raise click.UsageError("name a row, or --since a file of checkpoints")
    connected = open_database(settings(database=database).database)
    proofs = (
        prove_consistency(connected, _read_text(since)) if since is not None else [_prove_row(connected, row or "")]
    )
    for proof in proofs:
        write_json(proof)


def _read_text(file: BinaryIO) -> str:
    """Return the text of a file of checkpoints. Raises `InvalidInput` for a damaged file."""
    try:
        return decode_text(file.read())
    except Malformed as error:
        raise InvalidInput(f"{file.name}: {error}") from error


def _prove_row(connected: Database, row: str) -> Proof:
    noun, _, number = row.partition(":")
    by_noun = {"event": prove_event, "decision": prove_decision}
    if noun not in by_noun:
        raise click.UsageError("a row is event:ID or decision:ID")
    return by_noun[noun](connected, parse_number(number))


@audit.command("role")
@click.argument("name")
@click.option("--names", is_flag=True, help="Let it read names, too, to write letters.")
def role(name: str, names: bool) -> None:
    """Print the SQL that lets the PostgreSQL role NAME read the audit and change nothing. Run the SQL as the owner.

    \b
    psql clinic -c 'CREATE ROLE compliance LOGIN'; caregrant audit role compliance | psql clinic
    """
    click.echo("\n".join(grant_statements(name, names=names)))


for command in (export, drop, erase_command):
    audit.add_command(command)
