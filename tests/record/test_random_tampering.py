"""A random value of any column of any table is changed, and both verifiers find the change.

What they cannot find is listed in docs/reference/record.md.
"""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.audit.integrity.checkpoints import Signer, checkpoint
from authz.database import FAULTS, Database, close_all, connect, migrate
from authz.models import MODELS
from authz.policy.compiler.schema import read_schema
from authz.record.facts import KEYED
from tests.support.people import NOW
from tests.support.tampering import fill_all, judge, unlock

MUTATIONS = int(os.environ.get("CAREGRANT_TAMPERINGS", "200"))
"""The number of changes that are tried, at least one for each column; 500 take half a minute."""

Cell = tuple[str, str]


def uncovered() -> dict[str, set[str]]:
    """Return the columns that no proof covers by docs/reference/record.md, by table; `*` is every column."""
    text = (Path(__file__).parents[2] / "docs/reference/record.md").read_text().partition("### What no proof covers")[2]
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.M)
    listed: dict[str, set[str]] = {}
    for cell in (name for row in rows for name in re.findall(r"`([^`]*)`", row)):
        table, _, column = cell.partition(".")
        listed.setdefault(table, set()).add(column)
    return listed


def covered_columns() -> list[Cell]:
    """Return every column that no line of that list names."""
    listed = uncovered()
    return [
        (model._meta.table_name, field.column_name)
        for model in MODELS
        for field in model._meta.sorted_fields
        if not {"*", field.column_name} & listed.get(model._meta.table_name, set())
    ]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, str]]:
    """Return a record with a row in each table, without its triggers, and the key."""
    folder = tmp_path_factory.mktemp("sealed")
    database = connect(f"sqlite:///{folder}/caregrant.db")
    migrate(database)
    fill_all(database)
    signer = Signer.make(str(folder / "key"), "clinic.example/log")
    checkpoint(database, signer, NOW)
    unlock(database)
    yield database, str(signer.key)
    close_all(database)


def test_random_tampering_is_found(sealed: tuple[Database, str]) -> None:
    """After each change both verifiers say NOT VERIFIED; before and after all of them the record is VERIFIED."""
    database, key = sealed
    chance, columns, tried = random.Random(MUTATIONS), covered_columns(), 0
    assert judge(database, "", key).verdict.word == "VERIFIED"
    unnoticed, names = [], []
    while tried < max(MUTATIONS, len(columns)):
        table, column = chance.choice(columns) if tried >= len(columns) else columns[tried]
        tried += 1
        with database.atomic() as transaction:
            change = mutate(database, table, column, chance)
            if change is not None:
                report = judge(database, "", key)
                names.append((table, column))
                if report.verdict.word != "NOT VERIFIED":
                    unnoticed.append((table, column, *change))
            transaction.rollback()
    assert unnoticed == []
    assert len(names) > MUTATIONS * 0.7
    assert judge(database, "", key).verdict.word == "VERIFIED"


def mutate(database: Database, table: str, column: str, chance: random.Random) -> tuple[Any, Any] | None:
    """Change a value of a random row; return the old and the new value, or None if the database took no change."""
    key = database.get_primary_keys(table)
    columns = ", ".join(f'"{name}"' for name in (column, *key))
    rows = database.execute_sql(f'SELECT {columns}, typeof("{column}") FROM "{table}"').fetchall()
    if not rows:
        return None
    was, *row, kind = chance.choice(rows)
    where = " AND ".join(f'"{name}" = ?' for name in key)
    try:
        sql = f'UPDATE OR IGNORE "{table}" SET "{column}" = ? WHERE {where} RETURNING "{column}", typeof("{column}")'
        after = database.execute_sql(sql, (altered(was, chance), *row)).fetchone()
    except FAULTS:
        return None
    return None if after in (None, (was, kind)) else (was, after[0])


def altered(value: Any, chance: random.Random) -> Any:
    """Return another value: with another bit, of another type, or null."""
    if chance.random() < 0.25:
        return chance.choice([None, "x", b"x", 0, 1.5, -(2**40), 2**62, ""])
    if value is None:
        return 1
    if isinstance(value, int):
        return value ^ 1 << chance.randrange(0, 40)
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    if not raw:
        return "x"
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(0, 7)
    return raw.decode(errors="replace") if isinstance(value, str) else bytes(raw)


def test_what_a_policy_may_read_is_covered() -> None:
    """Tampering is found in every column that a policy may read, except in the ids that the database assigns."""
    covered = set(covered_columns())
    for resource in read_schema().types.values():
        for name, field in resource.properties.items():
            column = getattr(field, "column", None)
            if column and (name != "id" or resource.name in KEYED):
                assert (resource.table, column) in covered, (
                    f"{resource.table}.{column}: tell it in events, or take it from policies"
                )


def test_the_list_names_columns_that_are_there() -> None:
    """Every line of the list names a column that exists."""
    known = {model._meta.table_name: {field.column_name for field in model._meta.sorted_fields} for model in MODELS}
    for table, columns in uncovered().items():
        assert columns - {"*"} <= known[table], table
