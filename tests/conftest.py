"""Databases for tests: an SQLite file, and a database of a real PostgreSQL, each migrated and empty."""

import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from authz.audit.integrity.checkpoints import Signer
from authz.database import Database, close_all, connect, migrate
from authz.settings import Settings
from tests.support import people, postgresql_server
from tests.support.demo_service import demonstration_key
from tests.support.http import As, Person, headers, service
from tests.support.sample_record import record

_MEMORY = Path("/dev/shm")  # noqa: S108
_ENOUGH_BYTES = 4 << 30


def _is_fit(folder: Path) -> bool:
    """Return whether a file system in memory can hold the tests' folders, programs in them too."""
    return (
        os.access(folder, os.W_OK)
        and shutil.disk_usage(folder).free > _ENOUGH_BYTES
        and not os.statvfs(folder).f_flag & os.ST_NOEXEC
    )


if _is_fit(_MEMORY):  # on a disk, tests would wait for each of thousands of commits, and for each new database
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


_NUMBERS = itertools.count()
_SLOW = ("test_properties.py", "test_promises.py", "test_benchmarks.py", "test_schemathesis.py", "test_faults.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest modules first, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in _SLOW)


def pytest_collection_finish() -> None:
    """Keep the objects of the imported modules and tests out of the collections of garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # a frozen object counts as a leak when its library ends


@pytest.fixture(scope="session")
def postgresql_server_url() -> Iterator[str]:
    if postgresql_server.binaries() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL's server binaries are not installed, and CI leaves no test out")
        pytest.skip("PostgreSQL's server binaries (initdb, pg_ctl) are not installed")
    with postgresql_server.server() as url:
        with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_caregrant")
        template = connect(f"{url}/template_caregrant")
        migrate(template)
        close_all(template)
        yield url


@contextmanager
def _database_of(server: str, name: str) -> Iterator[str]:
    """Create a migrated, empty PostgreSQL database; drop it at the end."""
    name = f"test_{abs(hash(name)):x}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_caregrant".encode())
    yield f"{server}/{name}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def postgresql_url(postgresql_server_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a migrated, empty PostgreSQL database for one test."""
    with _database_of(postgresql_server_url, request.node.nodeid) as url:
        yield url


@pytest.fixture(scope="module")
def new_postgresql_url(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Return a function that creates a migrated, empty PostgreSQL database for one module, another at each call."""
    with ExitStack() as databases:

        def create() -> str:
            name = f"{request.node.nodeid} {next(_NUMBERS)}"
            return databases.enter_context(_database_of(request.getfixturevalue("postgresql_server_url"), name))

        yield create


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated, empty SQLite file to copy."""
    file = tmp_path_factory.mktemp("template") / "caregrant.db"
    database = connect(f"sqlite:///{file}")
    migrate(database)
    close_all(database)
    return file


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Return the URL of a migrated, empty SQLite file for one test."""
    shutil.copy(sqlite_template, tmp_path / "caregrant.db")
    return f"sqlite:///{tmp_path}/caregrant.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of each database in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open each database in turn."""
    opened = connect(database_url)
    opened.connect()
    yield opened
    close_all(opened)


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """Open SQLite: for tests that do not depend on the kind of database."""
    opened = connect(sqlite_url)
    opened.connect()
    yield opened
    close_all(opened)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a service with a development key."""
    return Settings(development_key=str(tmp_path / "key.json"))


@pytest.fixture
def flask(database: Database, settings: Settings) -> Flask:
    """Return a service on the cast's clinics that takes tokens of the development key."""
    people.fill(database)
    return service(database, development_key=settings.development_key)


@pytest.fixture
def as_(flask: Flask, settings: Settings) -> As:
    """Return somebody of the cast, with a token of their own."""
    return lambda who: Person(flask, headers(settings, who))


@pytest.fixture
def recorded(database: Database) -> Database:
    record(database)
    return database


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.make(str(tmp_path / "key"), "clinic.example/log")


@pytest.fixture
def key(database_url: str) -> str:
    """Return the key of an app in the demonstration clinic, on each database in turn."""
    return demonstration_key(database_url)
