"""`audit`: the record against what stands, whether it is whole, checkpoints and proofs of it."""

import sys
from typing import BinaryIO

import click

from authz.audit.export.log import names_of_trees, origin_of
from authz.audit.integrity.checkpoints import Signer, checkpoint, format_note, trusted
from authz.audit.integrity.proofs import Proof, prove_consistency, prove_decision, prove_event
from authz.audit.integrity.verdict import verdict_of
from authz.audit.integrity.verification import verify_database
from authz.audit.permissions import statements_for
from authz.audit.verify import Malformed, describe_report, text_of
from authz.cli.audit_export import drop, erase_command, export
from authz.cli.options import as_json, now, opened, setting, settings, write_json
from authz.database import Database
from authz.errors import InvalidInput
from authz.record import drain_or_count, replay_facts
from authz.texts import parse_number


@click.group()
def audit() -> None:
    """The record of every change and every answer."""


@audit.command("replay")
@click.option("--check", is_flag=True, help="Exit 1 where the events and the tables differ.")
@as_json
@setting("database")
def replay(check: bool, as_json: bool, database: str | None) -> None:
    """Rebuild the facts from the events alone, and tell where the tables say otherwise."""
    read, differences, unproven = replay_facts(opened(settings(database=database).database))
    if as_json:
        write_json({"events": read, "differences": [vars(one) for one in differences], "unproven": unproven})
    else:
        for one in differences:
            click.echo(f"{one.side} only: {one.noun} {one.row}")
        for entity in unproven:
            click.echo(f"no event tells the clinic of {entity}, which the upgrade to 0.2 chose")
        click.echo(f"{read} events replayed, {len(differences)} differences")
    sys.exit(1 if check and differences else 0)


@audit.command("key")
@click.option(
    "--new", "name", metavar="NAME", help="Make the key of a log of this name, in a file that is not there yet."
)
@click.option("--trees", is_flag=True, help="Print a key for each tree, under its origin, as tools of C2SP take it.")
@setting("checkpoint_key")
@setting("database")
def key_command(name: str | None, trees: bool, checkpoint_key: str | None, database: str | None) -> None:
    """Print the verifier key that goes with the key that signs checkpoints: give it to whoever shall verify."""
    chosen = settings(checkpoint_key=checkpoint_key, database=database)
    path = chosen.checkpoint_key
    if trees:
        key = Signer.read(path).key
        for tree in names_of_trees(opened(chosen.database)):
            click.echo(key.of_tree(origin_of(key.name, tree)))
        return
    if name is not None and not path:
        raise InvalidInput("say where: CAREGRANT_CHECKPOINT_KEY or --checkpoint-key FILE")
    click.echo(Signer.read(path).key if name is None else Signer.make(path, name).key)


@audit.command("checkpoint")
@setting("checkpoint_key")
@setting("database")
def checkpoint_command(checkpoint_key: str | None, database: str | None) -> None:
    """Sign what every tree is now, keep it and print it. Keep a copy where nobody of this service can write.

    Nothing is signed, and exit 1, where a tree does not begin with what was signed before.
    """
    chosen = settings(checkpoint_key=checkpoint_key, database=database)
    notes = checkpoint(opened(chosen.database), Signer.read(chosen.checkpoint_key), now())
    click.echo("\n".join(format_note(note) for note in notes), nl=False)


@audit.command("verify")
@click.option("--checkpoint", "kept", type=click.File("rb"), help="A file of checkpoints that you kept.")
@click.option(
    "--key", metavar="KEY", help="The verifier key; by default that of CAREGRANT_CHECKPOINT_KEY, if it is set."
)
@as_json
@setting("checkpoint_key")
@setting("database")
def verify(
    kept: BinaryIO | None, key: str | None, as_json: bool, checkpoint_key: str | None, database: str | None
) -> None:
    """Hash every row anew and compare the trees with every checkpoint.

    Exit 0: VERIFIED. 3: PARTLY VERIFIED, nothing is wrong and something is not proven. 1: NOT VERIFIED.
    """
    chosen = settings(checkpoint_key=checkpoint_key, database=database)
    known = _text(kept) if kept is not None else ""
    if key is None:
        remembered, key = trusted(chosen.checkpoint_key)
        known = f"{known}\n{remembered}"
    connected = opened(chosen.database)
    report = verify_database(connected, known, key, chosen.database, now(), drain_or_count(connected))
    verdict = verdict_of(report)
    if as_json:
        trees = [
            {"tree": one.name, "size": one.grown.size, "proven": one.proven, "root": one.grown.root.hex()}
            for one in report.trees
        ]
        counted = {"rows": report.rows, "unsealed": report.unsealed, "dropped": report.dropped}
        findings = [vars(one) for one in report.findings]
        write_json({"ok": report.ok, **verdict._asdict(), **counted, "trees": trees, "findings": findings})
    else:
        for line in describe_report(report):
            click.echo(line)
    sys.exit(verdict.exit_code)


@audit.command("prove")
@click.argument("row", required=False, metavar="[ROW]")
@click.option(
    "--since", type=click.File("rb"), help="Checkpoints that you kept: prove that the last ones go on from them."
)
@setting("database")
def prove(row: str | None, since: BinaryIO | None, database: str | None) -> None:
    """Prove that ROW (event:ID or decision:ID) is in the tree of the last checkpoint, or that trees go on from earlier.

    One JSON object a line, for authz/audit/verify.py --proof.
    """
    if (row is None) == (since is None):
        raise click.UsageError("name a row, or --since a file of checkpoints")
    connected = opened(settings(database=database).database)
    proofs = prove_consistency(connected, _text(since)) if since is not None else [_of_row(connected, row or "")]
    for proof in proofs:
        write_json(proof)


def _text(file: BinaryIO) -> str:
    """Read a file of checkpoints. Raises `InvalidInput` for a damaged one."""
    try:
        return text_of(file.read())
    except Malformed as error:
        raise InvalidInput(f"{file.name}: {error}") from error


def _of_row(connected: Database, row: str) -> Proof:
    noun, _, number = row.partition(":")
    by_noun = {"event": prove_event, "decision": prove_decision}
    if noun not in by_noun:
        raise click.UsageError("a row is event:ID or decision:ID")
    return by_noun[noun](connected, parse_number(number))


@audit.command("role")
@click.argument("name")
@click.option("--names", is_flag=True, help="Let it read names, too: for who writes letters.")
def role(name: str, names: bool) -> None:
    """Print the SQL that lets the PostgreSQL role NAME read the audit, and change nothing. Run it as the owner.

    \b
    psql clinic -c 'CREATE ROLE compliance LOGIN'; caregrant audit role compliance | psql clinic
    """
    click.echo("\n".join(statements_for(name, names=names)))


for command in (export, drop, erase_command):
    audit.add_command(command)
