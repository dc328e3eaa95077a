"""A stretch of import lines against what the database holds: the rules of each kind, then the rows they add.

What is held is asked once for the whole stretch; the lines are applied to it in memory, in their order, so that a
fault is the fault of one line.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from authz.database import Database
from authz.errors import InvalidInput
from authz.importing.lines import Line
from authz.models import Entity, Grant, Licence, Membership, Patient, Practitioner, StandingShare, Subscription
from authz.record import Act, Happened, append, changed, told_entity
from authz.statements import insert_rows, rows_of, write_many
from authz.terms import FOREVER_MICROS, format_micros, from_micros
from authz.texts import parse_id, search_key

Outcome = Literal["new", "unchanged", "ended"]


@dataclass(slots=True)
class _Life:
    started: int
    ended: int


@dataclass(slots=True)
class _Grant(_Life):
    practitioner: str
    role: str
    id: int | None = None
    origin: str = "imported"
    given_by: str = ""
    ended_by: str = ""
    end_cause: str = ""
    reason: str = ""
    was: tuple[int, str] | None = None

    def end(self, at: int) -> None:
        self.was = self.was or (self.ended, self.end_cause)
        self.ended, self.end_cause = at, "transfer"

    def row(self, patient: str) -> dict[str, Any]:
        """Its row, by its columns."""
        return {
            "patient": patient,
            "practitioner": self.practitioner,
            "role": self.role,
            "origin": self.origin,
            "given_by": self.given_by,
            "reason": self.reason,
            "ended_by": self.ended_by,
            "end_cause": self.end_cause,
            "started_at": self.started,
            "ended_at": self.ended,
        }


@dataclass(slots=True)
class _Patient:
    subscription: str
    name: str
    reference: str
    started: int
    grants: list[_Grant] = field(default_factory=list)


@dataclass(slots=True)
class _Entity:
    properties: Any
    links: dict[str, str]
    started: int
    subscription: str
    before: "_Entity | None" = None

    def told(self, key: tuple[str, str], ended: int = FOREVER_MICROS) -> dict[str, Any]:
        """This version as events tell it."""
        kind, one = key
        life = {"started_at": self.started, "ended_at": ended}
        row = {"type": kind, "id": one, "properties": self.properties, "subscription": self.subscription, **life}
        return told_entity(row, self.links)


class Stretch:
    """What the database holds about the things that some lines name, and what those lines add."""

    def __init__(self, database: Database, now: int, lines: Iterable[Line]) -> None:
        self._database = database
        self._now = now
        self._new: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
        self._new_grants: list[tuple[str, _Grant]] = []
        self._load(lines)

    # What is there.

    def _load(self, lines: Iterable[Line]) -> None:
        named: dict[str, set[str]] = defaultdict(set)
        for line in lines:
            for key in ("subscription", "practitioner", "patient", "owner", "colleague", "login"):
                if key in line.said:
                    named[key].add(line.said[key])
            for target, name in line.said.get("links", {}).values():
                named[target].add(name)
                named["entity"].add(name)
            named["entity" if line.kind == "entity" else line.kind].add(line.said.get("id", ""))
        people = named["practitioner"] | named["owner"] | named["colleague"]
        read = self._read
        self.subscriptions = dict(read("SELECT id, name FROM subscription WHERE id", named["subscription"]))
        self.licences = self._lives(
            "SELECT subscription_id, started_at, ended_at FROM licence", named["subscription"], 1
        )
        self.practitioners = {one: (login, name) for one, login, name in self._people("id", people)}
        self.logins = {login: one for one, login, _ in self._people("login", named["login"])}
        self.members = self._lives(
            "SELECT practitioner_id, subscription_id, role, started_at, ended_at FROM membership", people, 3
        )
        self.belongs = {key[:2] for key in self.members}
        self.patients = {
            one: _Patient(*columns)
            for one, *columns in read(
                "SELECT id, subscription_id, name, reference, started_at FROM patient WHERE id",
                named["patient"],
                lock=True,
            )
        }
        for patient, *columns in read(
            "SELECT patient_id, started_at, ended_at, practitioner_id, role, id, origin, given_by, ended_by, end_cause "
            'FROM "grant" WHERE patient_id',
            named["patient"],
        ):
            self.patients[patient].grants.append(_Grant(*columns))
        self.shares = self._lives(
            "SELECT owner_id, colleague_id, subscription_id, started_at, ended_at FROM standing_share",
            named["owner"],
            3,
        )
        self.entities: dict[tuple[str, str], _Entity] = {}
        self._load_entities(named["entity"])

    def _people(self, column: str, names: set[str]) -> Iterable[Any]:
        return self._read(f"SELECT id, login, name FROM practitioner WHERE {column}", names)

    def _load_entities(self, names: set[str]) -> None:
        versions: dict[int, _Entity] = {}
        for pk, kind, one, properties, started, subscription in self._read(
            "SELECT pk, type, id, properties, started_at, subscription FROM entity "
            f"WHERE ended_at = {FOREVER_MICROS} AND id",
            names,
        ):
            held = orjson.loads(properties) if isinstance(properties, str) else properties
            self.entities[kind, one] = versions[pk] = _Entity(held, {}, started, subscription)
        for pk, name, target in self._read(
            "SELECT entity_id, property, target FROM entity_link WHERE entity_id IN (SELECT pk FROM entity "
            f"WHERE ended_at = {FOREVER_MICROS} AND id",
            names,
            close=")",
        ):
            versions[pk].links[name] = target

    def _read(self, sql: str, names: set[str], *, lock: bool = False, close: str = "") -> list[Any]:
        return rows_of(self._database, sql, sorted(names), lock=lock, close=close) if names else []

    def _lives(self, sql: str, names: set[str], width: int) -> dict[Any, list[_Life]]:
        """Lives by key; the key is the first `width` columns, and the first of them is the one looked up."""
        lives: dict[Any, list[_Life]] = defaultdict(list)
        column = sql.split(",", maxsplit=1)[0].removeprefix("SELECT ")
        for row in self._read(f"{sql} WHERE {column}", names):
            lives[row[:width]].append(_Life(row[width], row[width + 1]))
        return lives

    # What each kind of line says.

    def apply(self, line: Line) -> Outcome:
        """Apply one line. Raises `InvalidInput` where it contradicts what is there."""
        said = line.said
        if "id" in said and not self._stands(line):
            parse_id(said["id"])  # of what is new; what has stood since before the rule keeps its id
        started = said.get("started_at", self._now)
        if started > self._now:
            raise InvalidInput(f"started_at {format_micros(started)} lies in the future")
        if said.get("until", FOREVER_MICROS) <= started:
            raise InvalidInput(f"until {format_micros(said['until'])} is not after the start {format_micros(started)}")
        return _APPLY[line.kind](self, said, started)

    def _subscription(self, said: dict[str, Any], started: int) -> Outcome:
        name, lives = said["name"], self.licences[(said["id"],)]
        if self.subscriptions.setdefault(said["id"], name) != name:
            raise InvalidInput(f"the subscription {said['id']} exists with another name")
        outcome = self._known(lives, said, started)
        if outcome == "new":
            if not lives:
                self._new[Subscription].append((said["id"], name))
            lives.append(_Life(started, said["until"]))
            self._new[Licence].append((said["id"], started, said["until"]))
        return outcome

    def _practitioner(self, said: dict[str, Any], _started: int) -> Outcome:
        one, login, name = said["id"], said["login"], said["name"]
        if one in self.practitioners:
            if self.practitioners[one] != (login, name):
                raise InvalidInput(f"the practitioner {one} exists with another login or name")
            return "unchanged"
        if login in self.logins:
            raise InvalidInput(f"the login of {one} is that of {self.logins[login]}")
        self.practitioners[one], self.logins[login] = (login, name), one
        self._new[Practitioner].append((one, login, name, search_key(name, login)))
        return "new"

    def _membership(self, said: dict[str, Any], started: int) -> Outcome:
        who, where, role = said["practitioner"], said["subscription"], said["role"]
        self._there("practitioner", who, self.practitioners)
        self._there("subscription", where, self.subscriptions)
        lives = self.members[who, where, role]
        outcome = self._known(lives, said, started)
        if outcome == "new":
            lives.append(_Life(started, said["until"]))
            self.belongs.add((who, where))
            self._new[Membership].append((who, where, role, started, said["until"]))
        return outcome

    def _patient(self, said: dict[str, Any], started: int) -> Outcome:
        one, where, owner = said["id"], said["subscription"], said["owner"]
        self._there("subscription", where, self.subscriptions)
        self._there("practitioner", owner, self.practitioners)
        held = self.patients.get(one)
        if held is not None:
            first = min((grant for grant in held.grants if grant.role == "owner"), key=lambda grant: grant.started)
            told = (held.subscription, held.name, held.reference, first.practitioner, held.started)
            new = (where, said["name"], said.get("reference", ""), owner, said.get("started_at", held.started))
            if told != new:
                raise InvalidInput(
                    f"the patient {one} exists with another subscription, name, reference, first owner or start"
                )
            return "unchanged"
        self._belongs(owner, where)
        name, reference = said["name"], said.get("reference", "")
        held = self.patients[one] = _Patient(where, name, reference, started)
        key = search_key(name, reference)
        self._new[Patient].append((one, where, name, reference, key, started, said["until"]))
        self._give(one, held, _Grant(started, FOREVER_MICROS, owner, "owner"))
        return "new"

    def _grant(self, said: dict[str, Any], started: int) -> Outcome:
        who = said["practitioner"]
        held = self._there("patient", said["patient"], self.patients)
        self._there("practitioner", who, self.practitioners)
        self._belongs(who, held.subscription)
        if started < held.started:
            raise InvalidInput(f"begins before the patient {said['patient']}, {format_micros(held.started)}")
        mine = [grant for grant in held.grants if grant.practitioner == who]
        if said["role"] == "owner":
            return self._next_owner(said, started, held, mine)
        viewed = [grant for grant in mine if grant.role == "viewer"]
        outcome = self._known(viewed, said, started)
        if outcome == "new":
            if any(grant.started < said["until"] and started < grant.ended for grant in mine):
                raise InvalidInput(f"{who} is the owner of {said['patient']} then")
            self._give(
                said["patient"], held, _Grant(started, said["until"], who, "viewer", reason=said.get("reason", ""))
            )
        return outcome

    def _next_owner(self, said: dict[str, Any], started: int, held: _Patient, mine: list[_Grant]) -> Outcome:
        """An owner grant says that the patient passed to a new owner: it ends the one before, and absorbs a share."""
        if said["until"] != FOREVER_MICROS:
            raise InvalidInput("an owner's grant has no until: the next owner's line ends it")
        owned = [grant for grant in mine if grant.role == "owner"]
        same = [grant for grant in owned if said.get("started_at", grant.started) == grant.started]
        if same:
            return "unchanged" if "started_at" in said or same[-1].ended == FOREVER_MICROS else "ended"
        last = max((grant for grant in held.grants if grant.role == "owner"), key=lambda grant: grant.started)
        if started <= last.started:
            raise InvalidInput(f"begins before or with the owner {last.practitioner}, {format_micros(last.started)}")
        if any(grant.started >= started and grant.ended > grant.started for grant in mine):
            raise InvalidInput(f"{said['practitioner']} holds a later grant on {said['patient']}")
        for grant in (last, *mine):
            if grant.ended > started:
                grant.end(started)
        self._give(
            said["patient"],
            held,
            _Grant(started, FOREVER_MICROS, said["practitioner"], "owner", reason=said.get("reason", "")),
        )
        return "new"

    def _give(self, patient: str, held: _Patient, grant: _Grant) -> None:
        held.grants.append(grant)
        self._new_grants.append((patient, grant))

    def _standing_share(self, said: dict[str, Any], started: int) -> Outcome:
        owner, colleague, where = said["owner"], said["colleague"], said["subscription"]
        self._there("subscription", where, self.subscriptions)
        for who in (owner, colleague):
            self._there("practitioner", who, self.practitioners)
            self._belongs(who, where)
        if owner == colleague:
            raise InvalidInput(f"{owner} shares with themselves")
        lives = self.shares[owner, colleague, where]
        outcome = self._known(lives, said, started)
        if outcome == "new":
            lives.append(_Life(started, said["until"]))
            content, reason = said.get("content", False), said.get("reason", "")
            self._new[StandingShare].append(
                (owner, colleague, where, content, "", reason, "", "", started, said["until"])
            )
        return outcome

    def _entity(self, said: dict[str, Any], _started: int) -> Outcome:
        key = said["type"], said["id"]
        held: dict[str, Mapping[str, Any]] = {
            "practitioner": self.practitioners,
            "patient": self.patients,
            "subscription": self.subscriptions,
        }
        for name, (target, one) in said["links"].items():
            if target in held and one not in held[target]:
                raise InvalidInput(f"{name}: there is no {target} {one}")
        links = {name: one for name, (_, one) in said["links"].items()}
        before = self.entities.get(key)
        if before is not None:
            if (before.properties, before.links) == (said["properties"], links):
                return "unchanged"
            if before.started >= self._now:
                raise InvalidInput(f"the {key[0]} {key[1]} stands in this file already, with other properties")
        where = self._owner(said["links"].values(), before)
        self.entities[key] = _Entity(said["properties"], links, self._now, where, before)
        self._new[Entity].append((*key, orjson.dumps(said["properties"]).decode(), where, self._now, FOREVER_MICROS))
        return "new"

    def _owner(self, leads: Iterable[tuple[str, str]], before: "_Entity | None") -> str:
        """The clinic that an entity belongs to, as `authz.operations.entity` decides for the operator."""
        clinics, people = set(), set()
        for kind, one in leads:
            if kind == "patient":
                clinics.add(self.patients[one].subscription)
            elif kind == "subscription":
                clinics.add(one)
            elif kind == "practitioner":
                people.add(one)
            elif (kind, one) in self.entities:
                clinics |= {self.entities[kind, one].subscription} - {""}
        if not clinics and before is not None:
            return before.subscription
        clinics = clinics or {where for who, where in self.belongs if who in people}
        return clinics.pop() if len(clinics) == 1 else ""

    # What all kinds share.

    def _stands(self, line: Line) -> bool:
        """Whether the row that a line names by its id is there."""
        if line.kind == "entity":
            return (line.said["type"], line.said["id"]) in self.entities
        held = {"subscription": self.subscriptions, "practitioner": self.practitioners, "patient": self.patients}
        return line.said["id"] in held[line.kind]

    def _there(self, what: str, name: str, held: dict[str, Any]) -> Any:
        if name not in held:
            raise InvalidInput(f"there is no {what} {name} on a line before this one, nor in the database")
        return held[name]

    def _belongs(self, who: str, where: str) -> None:
        if (who, where) not in self.belongs:
            raise InvalidInput(f"{who} has no membership of the subscription {where}")

    def _known(self, lives: Sequence[_Life], said: dict[str, Any], started: int) -> Outcome:
        """Whether a life that a line tells is there. One that was shortened since it was told is not revived."""
        until, lasting = said["until"], [life for life in lives if life.started < life.ended]
        if "started_at" in said:
            same = [life for life in lives if life.started == started]
            rivals = same or [life for life in lasting if life.started < until and started < life.ended]
        else:
            rivals = [life for life in lasting if life.ended > self._now]
            if lives and not rivals:
                return "ended"
        if not rivals:
            return "new"
        if any(life.ended == until for life in rivals):
            return "unchanged"
        if rivals[0].started == started and rivals[0].ended < until and rivals[0].ended <= self._now:
            return "ended"
        first, last = format_micros(rivals[0].started), format_micros(rivals[0].ended)
        raise InvalidInput(f"contradicts one that stands from {first} until {last}")

    # What is written.

    def write(self) -> None:
        """Write what the lines added. The database's own checks stand behind those above."""
        database, new = self._database, self._new
        insert_rows(database, Subscription, ("id", "name"), new[Subscription])
        insert_rows(database, Licence, _COLUMNS["licence"], new[Licence])
        insert_rows(database, Practitioner, ("id", "login", "name", "search_key"), new[Practitioner])
        insert_rows(database, Membership, _COLUMNS["membership"], new[Membership])
        insert_rows(database, Patient, _COLUMNS["patient"], new[Patient])
        ended = [(one, grant) for one, held in self.patients.items() for grant in held.grants if grant.was and grant.id]
        write_many(
            database,
            'UPDATE "grant" SET ended_at = {}, end_cause = {} WHERE id = {}',
            [(grant.ended, grant.end_cause, grant.id) for _, grant in ended],
        )
        given = [grant.row(patient) for patient, grant in self._new_grants]
        insert_rows(database, Grant, tuple(given[0]) if given else (), [tuple(row.values()) for row in given])
        insert_rows(database, StandingShare, _COLUMNS["standing_share"], new[StandingShare])
        self._write_entities()
        append(database, Act("", from_micros(self._now)), self._happened(ended, given))

    def _happened(self, ended: list[tuple[str, _Grant]], given: list[dict[str, Any]]) -> Iterator[Happened]:
        """What the lines changed, kind by kind; grants that were ended before those that began."""
        new = self._new
        for one, _ in new[Subscription]:
            yield Happened("subscription:imported", one, {"subscription": one})
        for one, *_ in new[Practitioner]:
            yield Happened("practitioner:imported", "", {"practitioner": one})
        for one, where, *_ in new[Patient]:
            yield Happened("patient:imported", where, {"patient": one}, one)
        for noun, model in (("licence", Licence), ("membership", Membership), ("standing_share", StandingShare)):
            for values in new[model]:
                row = dict(zip(_COLUMNS[noun], values, strict=True))
                yield Happened(
                    f"{noun}:imported", row["subscription"], changed(noun, None, row), reason=row.get("reason", "")
                )
        for patient, grant in ended:
            after = grant.row(patient)
            before = after | dict(zip(("ended_at", "end_cause"), grant.was or (), strict=True))
            body = changed("grant", before, after, grant=str(grant.id))
            yield Happened("grant:ended", self.patients[patient].subscription, body, patient)
        for row in given:
            subscription = self.patients[row["patient"]].subscription
            body = changed("grant", None, row)
            yield Happened("grant:imported", subscription, body, row["patient"], row["reason"])
        for kind, one, *_ in new[Entity]:
            yield from self._versions((kind, one), self.entities[kind, one])

    def _versions(self, key: tuple[str, str], new: _Entity) -> Iterator[Happened]:
        """The version of an entity that ended, if there was one, and the one that began."""
        names = {"type": key[0], "id": key[1]}
        if new.before is not None:
            told = {"before": new.before.told(key), "after": new.before.told(key, self._now)}
            yield Happened("entity:ended", new.before.subscription, names | told)
        yield Happened("entity:imported", new.subscription, names | {"before": None, "after": new.told(key)})

    def _write_entities(self) -> None:
        keys = [row[:2] for row in self._new[Entity]]
        write_many(
            self._database,
            f"UPDATE entity SET ended_at = {{}} WHERE type = {{}} AND id = {{}} AND ended_at = {FOREVER_MICROS}",
            [(self._now, *key) for key in keys],
        )
        insert_rows(self._database, Entity, ("type", "id", "properties", "subscription", *_SPAN), self._new[Entity])
        write_many(
            self._database,
            "INSERT INTO entity_link (entity_id, property, type, target) SELECT pk, {}, type, {} FROM entity "
            f"WHERE type = {{}} AND id = {{}} AND ended_at = {FOREVER_MICROS}",
            [(name, target, *key) for key in keys for name, target in self.entities[key].links.items()],
        )


_APPLY: dict[str, Callable[[Stretch, dict[str, Any], int], Outcome]] = {
    "subscription": Stretch._subscription,
    "practitioner": Stretch._practitioner,
    "membership": Stretch._membership,
    "patient": Stretch._patient,
    "grant": Stretch._grant,
    "standing_share": Stretch._standing_share,
    "entity": Stretch._entity,
}
_SPAN = ("started_at", "ended_at")
_ENDS = ("given_by", "reason", "ended_by", "end_cause", *_SPAN)
_COLUMNS = {
    "licence": ("subscription", *_SPAN),
    "patient": ("id", "subscription", "name", "reference", "search_key", *_SPAN),
    "membership": ("practitioner", "subscription", "role", *_SPAN),
    "standing_share": ("owner", "colleague", "subscription", "content", *_ENDS),
}
