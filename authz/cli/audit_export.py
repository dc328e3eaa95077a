"""The commands `audit export`, `audit drop` and `audit erase`: write the record to files, and what may be deleted."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import click

from authz.audit.catalog.known_ids import require_known_ref
from authz.audit.export import fhir
from authz.audit.export.log import count_lines, log_lines
from authz.audit.integrity.checkpoints import Signer
from authz.cli.options import now, open_database, setting, settings
from authz.cli.progress import row_counter
from authz.database import Database
from authz.errors import InvalidInput
from authz.record import Actor, drain_or_count
from authz.record.erasure import erase
from authz.record.leaves import canonical
from authz.record.retention import LEAST_YEARS, drop_month, require_retention_over

FORMATS = ("log", "parquet", "fhir-r4", "fhir-r5")


@click.command("export")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="The format to write.")
@click.option("--output", "-o", metavar="PATH", help="The file, or for parquet the folder; standard output by default.")
@setting("checkpoint_key")
@setting("database")
def export(form: str, output: str | None, checkpoint_key: str | None, database: str | None) -> None:
    """Write the record to a file.

    \b
    log      every leaf and row, one JSON object a line, for authz/audit/verify.py
    parquet  the decisions of each past month that is not in the folder yet
    fhir-r4  grants as Consent, events and decisions as AuditEvent, one a line
    fhir-r5  the same in R5
    """
    chosen = settings(checkpoint_key=checkpoint_key, database=database)
    connected = open_database(chosen.database)
    if form == "parquet":
        _export_parquet(connected, output)
        return
    if form == "log":
        name = Signer.read(chosen.checkpoint_key).key.name if chosen.checkpoint_key else ""
        _write(output, log_lines(connected, name, waiting=drain_or_count(connected)))
    else:
        _write(output, fhir.resources(connected, "r4" if form == "fhir-r4" else "r5", now()))


def _export_parquet(connected: Database, output: str | None) -> None:
    if output is None:
        raise click.UsageError("name the folder: --output FOLDER")
    parquet, folder, at = _parquet_module(), Path(output), now()
    written = 0
    for month in parquet.export_parquet(connected, folder, at):
        click.echo(month)
        written += 1
    if not written:
        click.echo(parquet.describe_nothing_written(connected, folder, at))


def _parquet_module() -> ModuleType:
    try:
        from authz.audit.export import parquet  # noqa: PLC0415 - only these commands need the extra
    except ImportError as error:
        raise InvalidInput("Parquet needs the extra: pip install 'caregrant[notebooks]'") from error
    return parquet


def _write(output: str | None, lines: Iterable[dict[str, object]]) -> None:
    with _stream(output) as file, row_counter("exporting") as progress:
        for line in count_lines(lines, progress):
            file.write(canonical(line) + b"\n")


@contextmanager
def _stream(output: str | None) -> Iterator[BinaryIO]:
    """Yield standard output, or a file that is there whole or not at all."""
    if output is None:
        yield sys.stdout.buffer
        return
    partial = Path(f"{output}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(output)
    except OSError as error:
        raise InvalidInput(f"{output}: {error.strerror}") from error


@click.command("drop")
@click.argument("month")
@click.option("--exported", metavar="FOLDER", required=True, help="The folder of export --format parquet.")
@setting("retention")
@setting("database")
def drop(month: str, exported: str, retention: str | None, database: str | None) -> None:
    """Delete the decisions of MONTH, such as 2020-01, if the time for which they are kept is over.

    Their export is compared with the seals first.
    """
    chosen = settings(retention=retention, database=database)
    if chosen.retention < LEAST_YEARS:
        click.echo(f"caregrant: answers are kept for only {chosen.retention} years, less than {LEAST_YEARS}", err=True)
    require_retention_over(month, chosen.retention, now())
    connected = open_database(chosen.database)
    _parquet_module().require_exported(connected, Path(exported), month)
    dropped = drop_month(connected, Actor("", now()), month, chosen.retention)
    click.echo(f"{month}: {dropped} decisions dropped")


@click.command("erase")
@click.argument("whose")
@setting("database")
def erase_command(whose: str, database: str | None) -> None:
    """Erase the addresses of practitioner:ID or client:ID, or the name, reference and reasons of patient:ID.

    The trees stay as they are, and still verify.
    """
    connected = open_database(settings(database=database).database)
    kind, _, name = whose.partition(":")
    if kind in ("practitioner", "patient"):
        require_known_ref(connected, (kind, name))
    erased = erase(connected, Actor("", now()), whose)
    parts = f"{erased.events} fields of events, {erased.decisions} of decisions and {erased.patient} of the patient"
    click.echo(f"{parts} erased")
