"""The stored facts about the things that some lines name, read once for all these lines."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from authz.database import Database
from authz.database.statements import select_in
from authz.domain import FOREVER_MICROS
from authz.errors import InvalidInput
from authz.importing.lines import Line
from authz.importing.rows import (
    GRANT_COLUMNS,
    KEY_COLUMNS,
    OTHER_COLUMNS,
    SPAN,
    EntityVersion,
    Key,
    Life,
    PatientState,
    stored_grant,
)
from authz.models import Event
from authz.policy.entity_properties import targets_of
from authz.record.links import read_links

EntityVersions = list[EntityVersion]

_NAMING_FIELDS = ("subscription", "practitioner", "patient", "owner", "colleague", "login")


class StoredFacts:
    """The facts that lines refer to, by their ids; lines that are applied change them in memory."""

    def __init__(self, database: Database, lines: Iterable[Line]) -> None:
        self._database = database
        names = _names(lines)
        people = names["practitioner"] | names["owner"] | names["colleague"]
        sql = "SELECT id, name, time_zone FROM subscription WHERE id"
        self.subscriptions = {row: (name, zone) for row, name, zone in self.select(sql, names["subscription"])}
        self.licences = self._lives("licence", names["subscription"])
        self.practitioners = {name: (login, full) for name, login, full in self._people("id", people)}
        self.logins: dict[str, str] = {login: name for name, login, _ in self._people("login", names["login"])}
        self.memberships = self._lives("membership", people)
        self.belongs = {key[:2] for key in self.memberships}
        self.patients = self._patients(names["patient"])
        self.standing_shares = self._lives("standing_share", names["owner"])
        self.entities = self._entities(names["entity"], _starts(lines))

    def select(self, sql: str, names: set[str] | set[int], *, lock: bool = False, close: str = "") -> list[Any]:
        """Return the rows of a query that ends in a column, if that column is one of `names`."""
        ordered: Any = sorted(names)
        return select_in(self._database, sql, ordered, lock=lock, close=close) if names else []

    def is_end_chosen(self, patient: str, grant: int) -> bool:
        """Return whether a practitioner has changed the end of a share here: a file, which is older, does not move it.

        One query for each line that would make a share longer.
        """
        changes = Event.select(Event.body).where(
            Event.patient == patient, Event.kind == "grant:changed", Event.actor != ""
        )
        bodies = [body for (body,) in changes.tuples().execute(self._database)]
        return any(body["grant"] == str(grant) and "until" in body["changed"] for body in bodies)

    def _people(self, column: str, names: set[str]) -> list[Any]:
        return self.select(f"SELECT id, login, name FROM practitioner WHERE {column}", names)

    def _lives(self, noun: str, names: set[str]) -> dict[Key, list[Life]]:
        """Return lives by key, in order; the first column of the key is looked up."""
        keys, other = KEY_COLUMNS[noun], OTHER_COLUMNS[noun]
        columns = [name if name == "role" else f"{name}_id" for name in keys]
        lives: dict[Key, list[Life]] = defaultdict(list)
        listed = ", ".join([*SPAN, "id", *columns, *other])
        for started, ended, number, *values in self.select(f"SELECT {listed} FROM {noun} WHERE {columns[0]}", names):
            rest = dict(zip(other, values[len(keys) :], strict=True))
            cause = rest.pop("end_cause", "")
            lives[tuple(values[: len(keys)])].append(Life(started, ended, number, rest, cause))
        for same_key in lives.values():
            same_key.sort(key=lambda life: (life.started, life.ended))
        return lives

    def _patients(self, names: set[str]) -> dict[str, PatientState]:
        sql = "SELECT id, subscription_id, name, reference, started_at, ended_at FROM patient WHERE id"
        patients = {patient: PatientState(*columns) for patient, *columns in self.select(sql, names, lock=True)}
        for patient, *columns in self.select(f'SELECT {GRANT_COLUMNS} FROM "grant" WHERE patient_id', names):
            patients[patient].grants.append(stored_grant(columns))
        return patients

    def _entities(self, names: set[str], starts: set[tuple[str, str, int]]) -> dict[tuple[str, str], EntityVersions]:
        """Return the versions of entities in order; properties and relations of those that a line may be about."""
        entities: dict[tuple[str, str], EntityVersions] = defaultdict(list)
        wanted: dict[int, EntityVersion] = {}
        columns = "type, id, pk, started_at, ended_at, subscription"
        for kind, entity, number, started, ended, subscription in self.select(
            f"SELECT {columns} FROM entity WHERE id", names
        ):
            version = EntityVersion(started, ended, number, subscription=subscription)
            entities[kind, entity].append(version)
            if ended == FOREVER_MICROS or (kind, entity, started) in starts:
                wanted[number] = version
        for versions in entities.values():
            versions.sort(key=lambda version: (version.started, version.ended))
        links, _ = read_links(self._database, sorted(wanted))
        for number, properties in self.select("SELECT pk, properties FROM entity WHERE pk", set(wanted)):
            wanted[number].properties = orjson.loads(properties) if isinstance(properties, str) else properties
            wanted[number].links = links.get(number, {})
        return entities

    def current_entity(self, key: tuple[str, str]) -> EntityVersion | None:
        """Return the version of an entity that has no end; None if there is none."""
        versions = self.entities.get(key, [])
        return next((version for version in reversed(versions) if version.ended == FOREVER_MICROS), None)

    def has(self, line: Line) -> bool:
        """Return whether the row that a line names by its id exists."""
        if line.kind == "entity":
            return self.current_entity((line.fields["type"], line.fields["id"])) is not None
        rows: dict[str, Mapping[str, object]] = {
            "subscription": self.subscriptions,
            "practitioner": self.practitioners,
            "patient": self.patients,
        }
        return line.fields["id"] in rows[line.kind]

    def require_subscription(self, name: str) -> None:
        """Raise `InvalidInput` unless the subscription exists."""
        _require("subscription", name, self.subscriptions)

    def require_practitioner(self, name: str) -> None:
        """Raise `InvalidInput` unless the practitioner exists."""
        _require("practitioner", name, self.practitioners)

    def require_patient(self, name: str) -> PatientState:
        """Return a patient. Raises `InvalidInput` unless the patient exists."""
        _require("patient", name, self.patients)
        return self.patients[name]

    def require_membership(self, practitioner: str, subscription: str) -> None:
        """Raise `InvalidInput` unless the practitioner has, or has had, a membership of the subscription."""
        if (practitioner, subscription) not in self.belongs:
            raise InvalidInput(f"{practitioner} has no membership of the subscription {subscription}")


def _names(lines: Iterable[Line]) -> dict[str, set[str]]:
    """Return the names on lines, by the field or the kind that names them."""
    names: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        for key in _NAMING_FIELDS:
            if key in line.fields:
                names[key].add(line.fields[key])
        for _, (target, name) in targets_of(line.fields.get("relations", {})):
            names[target].add(name)
            names["entity"].add(name)
        names[line.kind].add(line.fields.get("id", ""))
    return names


def _starts(lines: Iterable[Line]) -> set[tuple[str, str, int]]:
    """Return type, id and start of the versions of entities that lines name by their start."""
    return {
        (line.fields["type"], line.fields["id"], line.fields["started_at"])
        for line in lines
        if line.kind == "entity" and "started_at" in line.fields
    }


def _require(kind: str, name: str, rows: dict[str, Any]) -> None:
    if name not in rows:
        raise InvalidInput(f"there is no {kind} {name} on a line before this one, nor in the database")
