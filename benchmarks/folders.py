"""Folders in folders and groups in groups: decisions and lists by recursive rules beside the best SQL by hand.

`python -m benchmarks.folders`. 100,000 files in 10,000 folders, eight deep; 2,000 groups, four deep; 10,000 users. Both
sides read the same tables, take turns, and answer the same questions; a line is the median of the ratios of the rounds.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from authz.database import Database, close_all, connect, gather_statistics, migrate
from authz.database.statements import insert_values
from authz.domain import FOREVER_MICROS, to_micros
from authz.models import Entity, EntityLink
from authz.policy.compiler import compile_texts
from authz.policy.pdp import PDP
from tests.support import postgresql_server

LEAST = 0.5
"""The least speed of Caregrant beside the query by hand."""

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_POLICY = {
    "types.toml": """
[user]
[group]
[inclusion]
group = { type = "Group", reverse = "inclusions" }
user = "User"
inner = "Group"
[folder]
parent = "Folder"
[share]
folder = { type = "Folder", reverse = "shares" }
user = "User"
group = "Group"
[file]
folder = "Folder"
""",
    "drive.polar": """
member(u: User, g: Group) if m in g.inclusions and m.user = u;
member(u: User, g: Group) if m in g.inclusions and member(u, m.inner);
viewer(u: User, f: Folder) if s in f.shares and s.user = u;
viewer(u: User, f: Folder) if s in f.shares and member(u, s.group);
viewer(u: User, f: Folder) if viewer(u, f.parent);
allow(u: User, "view", f: File) if viewer(u, f.folder);
""",
}
_GROUPS = """
groups (id) AS (
  SELECT g.target FROM entity_link u JOIN entity_link g ON g.entity_id = u.entity_id AND g.property = 'group'
  WHERE u.target = {subject} AND u.type = 'inclusion' AND u.property = 'user'
  UNION SELECT g.target FROM groups
  JOIN entity_link i ON i.target = groups.id AND i.type = 'inclusion' AND i.property = 'inner'
  JOIN entity_link g ON g.entity_id = i.entity_id AND g.property = 'group' WHERE {few_groups})"""
_CHECK = (
    "WITH RECURSIVE"
    + _GROUPS
    + """,
folders (id) AS (
  SELECT l.target FROM entity e JOIN entity_link l ON l.entity_id = e.pk AND l.property = 'folder'
  WHERE e.type = 'file' AND e.id = {resource}
  UNION SELECT l.target FROM folders JOIN entity e ON e.type = 'folder' AND e.id = folders.id
  JOIN entity_link l ON l.entity_id = e.pk AND l.property = 'parent' WHERE {few_folders})
SELECT 1 FROM folders
JOIN entity_link f ON f.target = folders.id AND f.type = 'share' AND f.property = 'folder'
JOIN entity_link s ON s.entity_id = f.entity_id
WHERE {few_folders} AND ((s.property = 'user' AND s.target = {subject})
   OR (s.property = 'group' AND s.target IN (SELECT id FROM groups))) LIMIT 1"""
)
_LIST = (
    "WITH RECURSIVE"
    + _GROUPS
    + """,
folders (id) AS (
  SELECT f.target FROM (
    SELECT entity_id FROM entity_link WHERE target = {subject} AND type = 'share' AND property = 'user'
    UNION SELECT s.entity_id FROM groups
    JOIN entity_link s ON s.target = groups.id AND s.type = 'share' AND s.property = 'group' WHERE {few_groups}
  ) AS shared
  JOIN entity_link f ON f.entity_id = shared.entity_id AND f.property = 'folder' WHERE {few_shares}
  UNION SELECT e.id FROM folders
  JOIN entity_link l ON l.target = folders.id AND l.type = 'folder' AND l.property = 'parent'
  JOIN entity e ON e.pk = l.entity_id WHERE {few_folders})
SELECT e.id FROM folders JOIN entity_link l ON l.target = folders.id AND l.type = 'file' AND l.property = 'folder'
JOIN entity e ON e.pk = l.entity_id WHERE {few_folders} ORDER BY e.id"""
)


def by_hand(text: str, dialect: str) -> str:
    """Return the query by hand in a dialect.

    SQLite is told the order of the joins, and that few rows drive them; otherwise it would read all links each time.
    """
    if dialect == "postgresql":
        few = dict.fromkeys(("few_groups", "few_folders", "few_shares"), "true")
        return text.format(subject="%(subject)s", resource="%(resource)s", **few)
    few = {
        "few_groups": "likelihood(groups.id <> '', 0.0001)",
        "few_folders": "likelihood(folders.id <> '', 0.0001)",
        "few_shares": "likelihood(shared.entity_id <> 0, 0.0001)",
    }
    return text.replace("JOIN", "CROSS JOIN").format(subject=":subject", resource=":resource", **few)


@dataclass(frozen=True)
class Drive:
    """The number of files; a tenth are folders and users, a fiftieth groups."""

    files: int

    @property
    def folders(self) -> int:
        return self.files // 10

    @property
    def groups(self) -> int:
        return self.files // 50

    def entities(self, seed: int) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield each entity: its type, its id, and its relations."""
        draw = random.Random(seed)
        users = self.files // 10
        for number in range(users):
            yield "user", f"u{number}", {}
        for number in range(self.groups):
            yield "group", f"g{number}", {}
            yield "inclusion", f"i{number}", {"group": f"g{number // 7}", "inner": f"g{number}"}
        for number in range(2 * users):
            yield "inclusion", f"m{number}", {"group": f"g{draw.randrange(self.groups)}", "user": f"u{number // 2}"}
        for number in range(self.folders):  # about eight deep: each folder holds three
            yield "folder", f"d{number}", {"parent": f"d{(number - 1) // 3}"} if number else {}
        for number in range(self.folders):
            to = ("user", f"u{draw.randrange(users)}") if number % 2 else ("group", f"g{draw.randrange(self.groups)}")
            yield "share", f"s{number}", {"folder": f"d{draw.randrange(self.folders // 3, self.folders)}", to[0]: to[1]}
        for number in range(self.files):
            yield "file", f"f{number}", {"folder": f"d{draw.randrange(self.folders)}"}


def fill(database: Database, drive: Drive, seed: int) -> None:
    """Store the entities of a drive."""
    entities = list(drive.entities(seed))
    life = (to_micros(_NOW), FOREVER_MICROS)
    with database.atomic():
        columns = ("pk", "type", "id", "properties", "started_at", "ended_at")
        rows = [(key, kind, name, "{}", *life) for key, (kind, name, _) in enumerate(entities, 1)]
        insert_values(database, Entity._meta.table_name, columns, rows)
        links = [
            (key, relation, kind, target)
            for key, (kind, _, relations) in enumerate(entities, 1)
            for relation, target in relations.items()
        ]
        insert_values(database, EntityLink._meta.table_name, ("entity_id", "property", "type", "target"), links)
    gather_statistics(database)


def compare(ours: Callable[[int], object], theirs: Callable[[int], object], count: int, rounds: int) -> str:
    """Require equal answers to each question; return the times of both sides and the median ratio as cells of a row."""
    for number in range(count):
        assert ours(number) == theirs(number), number
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        spent = []
        for side in (ours, theirs):
            began = time.perf_counter()
            for number in range(count):
                side(number)
            spent.append((time.perf_counter() - began) / count)
        times.append((spent[0], spent[1]))
    ratio = statistics.median(second / first for first, second in times)
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    met = "yes" if ratio >= LEAST else "NO"
    return f"{first * 1e6:,.0f} µs | {second * 1e6:,.0f} µs | {ratio:.2f} | ≥ {LEAST} | {met}"


def measure(database: Database, drive: Drive, rounds: int) -> Iterator[str]:
    """Yield a row for each kind of question."""
    pdp = PDP(database, compile_texts(_POLICY), clock=lambda: _NOW)
    draw = random.Random(7)
    pairs = [(f"u{draw.randrange(drive.files // 10)}", f"f{draw.randrange(drive.files)}") for _ in range(300)]
    everybody = (
        user for user in range(drive.files // 10) if pdp.search_resources(("user", f"u{user}"), "view", "file")
    )
    viewers = [f"u{next(everybody)}" for _ in range(20)]
    pairs += [(who, pdp.search_resources(("user", who), "view", "file", limit=1)[0]) for who in viewers]
    check, listing = (by_hand(text, database.dialect) for text in (_CHECK, _LIST))

    def rows(text: str, who: str, what: str = "") -> list[str]:
        arguments = {"subject": who, "resource": what} if what else {"subject": who}
        return [row[0] for row in database.connection().execute(text, arguments).fetchall()]

    name = "SQLite" if database.dialect == "sqlite" else "PostgreSQL"
    cells = compare(
        lambda number: pdp.evaluate(("user", pairs[number][0]), "view", ("file", pairs[number][1])).allowed,
        lambda number: bool(rows(check, *pairs[number])),
        len(pairs),
        rounds,
    )
    yield f"| check, {name} | {cells} |"
    cells = compare(
        lambda number: pdp.search_resources(("user", viewers[number]), "view", "file"),
        lambda number: rows(listing, viewers[number]),
        len(viewers),
        rounds,
    )
    yield f"| list of files, {name} | {cells} |"


@click.command()
@click.option("--files", type=click.IntRange(1000), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(files: int, rounds: int) -> None:
    """Measure recursive rules, and print the table."""
    click.echo("| What | Caregrant | By hand | Ratio | Target | Met |\n|---|---|---|---|---|---|")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        urls = [f"sqlite:///{Path(folder, 'drive.db')}"]
        if postgresql_server.binaries() is not None:
            urls.append(f"{stack.enter_context(postgresql_server.server())}/postgres")
        for url in urls:
            database = connect(url)
            migrate(database)
            database.connect(reuse_if_open=True)
            fill(database, Drive(files), seed=1)
            for row in measure(database, Drive(files), rounds):
                click.echo(row)
            close_all(database)


if __name__ == "__main__":
    main()
