"""The upgrade to 0.2: the clinic of each stored entity, names with their search keys, ids that break the rule."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
import psycopg
import pytest
from click.testing import CliRunner
from playhouse.migrations import Runner

from authz.cli import caregrant
from authz.database import MIGRATIONS, Database, close_all, connect
from authz.domain import EPOCH
from authz.models import Entity, Grant, Patient, Practitioner
from authz.texts import search_key

T, FOREVER = 1_000, 253402300799999999
LINKS = {
    "of-north": ["p-1", "mia"],
    "by-frank": ["frank"],
    "by-mia": ["mia"],  # has worked in both clinics
    "of-both": ["p-1", "p-2"],
    "of-nobody": [],
    "unclear": ["frank", "north"],  # a practitioner, and what is a practitioner's and a clinic's id
    "of-another": ["by-frank", "frank"],
}


def filled_as_before(database: Database, folder: Path) -> None:
    """Fill a database of the release before with a few rows."""
    for script in sorted(MIGRATIONS.glob("00*.py")):
        if script.name < "0011":
            shutil.copy(script, folder)
    Runner(database, str(folder)).up()

    def put(sql: str, *rows: tuple[Any, ...]) -> None:
        for row in rows:
            database.execute_sql(f"INSERT INTO {sql} VALUES ({', '.join([database.param] * len(row))})", row)

    with database.atomic():
        put("subscription (id, name)", ("north", "North"), ("city", "City"), ("a/b", "Old id"))
        people = [(who, f"{who}@clinic.example", name) for who, name in (("mia", "Jose\u0301  M"), ("frank", "\u200b"))]
        put("practitioner (id, login, name)", *people, ("north", "north@clinic.example", "Nor Th"))
        works = [("mia", "north"), ("mia", "city"), ("frank", "city"), ("north", "city")]
        put(
            "membership (practitioner_id, subscription_id, role, started_at, ended_at)",
            *((*pair, "member", T, FOREVER) for pair in works),
        )
        patients = [("p-1", "north", "İpek"), ("p-2", "city", "B"), (".", "city", "C")]
        put(
            "patient (id, subscription_id, name, started_at, ended_at)",
            *((*row, T, FOREVER) for row in patients),
        )
        for pk, (name, targets) in enumerate(LINKS.items(), 1):
            put("entity (pk, type, id, properties, started_at, ended_at)", (pk, "document", name, "{}", T, FOREVER))
            links = [(pk, f"r{at}", "document", target) for at, target in enumerate(targets)]
            put("entity_link (entity_id, property, type, target)", *links)


@pytest.fixture(params=["sqlite", "postgresql"])
def older_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return an empty database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/older.db"
        return
    base = request.getfixturevalue("postgresql_server_url")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE older_clinics")
    yield f"{base}/older_clinics"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE older_clinics WITH (FORCE)")


def test_an_upgrade_derives_what_is_new(older_url: str, tmp_path: Path) -> None:
    """The upgrade derives clinics and search keys, and `migrate` lists the ids that no path can name."""
    database = connect(older_url)
    (tmp_path / "scripts").mkdir()
    filled_as_before(database, tmp_path / "scripts")
    close_all(database)
    result = CliRunner().invoke(caregrant, ["migrate", "--database", older_url])
    assert result.exit_code == 0, result.output
    assert "the subscription 'a/b' keeps its id" in result.output
    assert "the patient '.' keeps its id" in result.output
    assert result.output.count("keeps its id") == 2
    owners = dict(Entity.select(Entity.id, Entity.subscription).tuples().execute(database))
    assert owners == {
        "of-north": "north",
        "by-frank": "city",
        "by-mia": "",
        "of-both": "",
        "of-nobody": "",
        "unclear": "",
        "of-another": "",
    }
    rows = Practitioner.select(Practitioner.id, Practitioner.name, Practitioner.search_key).tuples().execute(database)
    named = {who: (name, key) for who, name, key in rows}
    assert named["mia"] == ("José M", "jose m\nmia@clinic.example")
    assert named["frank"] == ("\u200b", search_key("\u200b", "frank@clinic.example"))
    keys = dict(Patient.select(Patient.id, Patient.search_key).tuples().execute(database))
    assert keys["p-1"] == search_key("İpek", "") == "ipek\n"
    close_all(database)


def test_grants_of_before_cannot_be_undone(older_url: str, tmp_path: Path) -> None:
    """The upgrade leaves each grant as it was, with no time of an undo, and widens the checks by `undo` alone."""
    database = connect(older_url)
    for script in sorted(MIGRATIONS.glob("00*.py")):
        if script.name < "0018":
            shutil.copy(script, tmp_path)
    with database.migrating():
        Runner(database, str(tmp_path)).up()
    rows = [
        "INSERT INTO subscription (id, name) VALUES ('north', 'North')",
        "INSERT INTO practitioner (id, login, name) VALUES ('mia', 'mia@clinic.example', 'Mia')",
        f"""INSERT INTO membership (practitioner_id, subscription_id, role, started_at, ended_at)
            VALUES ('mia', 'north', 'member', {T}, {FOREVER})""",
        f"""INSERT INTO patient (id, subscription_id, name, started_at, ended_at)
            VALUES ('p-1', 'north', 'Pat', {T}, {FOREVER})""",
        f"""INSERT INTO "grant" (patient_id, practitioner_id, role, origin, given_by, reason, ended_by, end_cause,
            started_at, ended_at) VALUES ('p-1', 'mia', 'owner', 'transfer', 'mia', 'x', '', '', {T}, {FOREVER})""",
    ]
    with database.migrating():
        for statement in rows:
            database.execute_sql(statement)
    close_all(database)
    result = CliRunner().invoke(caregrant, ["migrate", "--database", older_url])
    assert result.exit_code == 0, result.output
    database.connect()
    (row,) = Grant.select().dicts().execute(database)
    assert (row["undo_until"], row["origin"], row["reason"]) == (EPOCH, "transfer", "x")
    for column in ("origin", "end_cause"):
        assert database.execute_sql(f"UPDATE \"grant\" SET {column} = 'undo'").rowcount == 1
        with pytest.raises(peewee.IntegrityError):
            database.execute_sql(f"UPDATE \"grant\" SET {column} = 'other'")
    if database.dialect == "sqlite":
        assert database.execute_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
    close_all(database)
