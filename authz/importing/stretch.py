"""A stretch of import lines against what the database holds: the rules of each kind, then the rows they add.

What is held is asked once for the whole stretch; the lines are applied to it in memory, in their order, so that a
fault is the fault of one line.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from authz.database import Database, check_clock
from authz.database.statements import insert_rows, select_in, write_many
from authz.domain import FOREVER_MICROS, MEMBERSHIP_ROLES, format_micros, from_micros
from authz.errors import InvalidInput
from authz.importing.lines import Line
from authz.models import Entity, Grant, Licence, Membership, Patient, Practitioner, StandingShare, Subscription
from authz.operations.leaving import PRACTISING, held_shares
from authz.record import Actor, NewEvent, append, fact_change, serialize_entity
from authz.texts import parse_id, search_key

Key = tuple[str, ...]

_SPAN = ("started_at", "ended_at")
_ENDS = ("content", "given_by", "reason", "ended_by", "end_cause")
_LIVES: dict[str, Any] = {"licence": Licence, "membership": Membership, "standing_share": StandingShare}
_KEYS: dict[str, Key] = {
    "licence": ("subscription",),
    "membership": ("practitioner", "subscription", "role"),
    "standing_share": ("owner", "colleague", "subscription"),
}
_MORE: dict[str, Key] = {"licence": (), "membership": (), "standing_share": _ENDS}
_COLUMNS = {noun: (*_KEYS[noun], *_MORE[noun], *_SPAN) for noun in _LIVES}
_IDENTITY: dict[str, Key] = {
    "subscription": ("id",),
    "practitioner": ("id",),
    "membership": ("practitioner", "subscription", "started_at"),
    "patient": ("id",),
    "grant": ("patient", "practitioner", "role", "started_at"),
    "standing_share": ("owner", "colleague", "subscription", "started_at"),
    "entity": ("type", "id"),
}
"""The fields by which a line names what it tells of."""
_PATIENT_COLUMNS = ("id", "subscription", "name", "reference", "search_key", *_SPAN)
_GRANT_FIELDS = (
    "started",
    "ended",
    "practitioner",
    "role",
    "id",
    "origin",
    "given_by",
    "ended_by",
    "end_cause",
)
_GRANT = "patient_id, started_at, ended_at, practitioner_id, role, id, origin, given_by, ended_by, end_cause"
Outcome = Literal["new", "changed", "unchanged", "ended"]


@dataclass(slots=True)
class _Life:
    """A life that stands or that a line begins; `was` holds its end, and the cause of that, if a line changed them."""

    started: int
    ended: int
    id: int | None = None
    more: dict[str, Any] = field(default_factory=dict)
    end_cause: str = ""
    was: tuple[int, str] | None = None

    def move_end(self, at: int, cause: str) -> None:
        self.was = self.was or (self.ended, self.end_cause)
        self.ended, self.end_cause = at, cause


@dataclass(slots=True, kw_only=True)
class _Grant(_Life):
    practitioner: str
    role: str
    origin: str = "imported"
    given_by: str = ""
    ended_by: str = ""
    reason: str = ""

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
    ended: int
    grants: list[_Grant] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


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
        return serialize_entity(row, self.links)


def _row(noun: str, key: Key, life: _Life) -> dict[str, Any]:
    """The row of a life, by its columns, in the order of `_COLUMNS`."""
    more = {name: life.end_cause if name == "end_cause" else life.more[name] for name in _MORE[noun]}
    return {**dict(zip(_KEYS[noun], key, strict=True)), **more, "started_at": life.started, "ended_at": life.ended}


def _before(after: dict[str, Any], life: _Life) -> dict[str, Any]:
    """The row as it was before its end was changed."""
    ended, cause = life.was or (life.ended, life.end_cause)
    return {**after, "ended_at": ended, **({"end_cause": cause} if "end_cause" in after else {})}


class ImportBatch:
    """What the database holds about the things that some lines name, and what those lines add."""

    def __init__(
        self, database: Database, now: int, lines: Iterable[Line], fact_change: set[tuple[Any, ...]] | None = None
    ) -> None:
        """`changed` holds what earlier lines of the file changed; it grows."""
        self._changed = set() if fact_change is None else fact_change
        self._begun: set[tuple[Any, ...]] = set()
        self._database = database
        self._now = now
        self._new: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
        self._new_grants: list[tuple[str, _Grant]] = []
        self._new_lives: list[tuple[str, Key, _Life]] = []
        self._renamed: list[tuple[str, str]] = []
        self._people_changed: list[tuple[str, str, str, list[str]]] = []
        self._left: set[tuple[str, str]] = set()
        check_clock(database)()
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
        self.licences = self._lives("licence", named["subscription"])
        self.practitioners = {one: (login, name) for one, login, name in self._people("id", people)}
        self.logins = {login: one for one, login, _ in self._people("login", named["login"])}
        self.members = self._lives("membership", people)
        self.belongs = {key[:2] for key in self.members}
        self.patients = {
            one: _Patient(*columns)
            for one, *columns in read(
                "SELECT id, subscription_id, name, reference, started_at, ended_at FROM patient WHERE id",
                named["patient"],
                lock=True,
            )
        }
        for patient, *columns in read(f'SELECT {_GRANT} FROM "grant" WHERE patient_id', named["patient"]):
            self.patients[patient].grants.append(_Grant(**dict(zip(_GRANT_FIELDS, columns, strict=True))))
        self.shares = self._lives("standing_share", named["owner"])
        self.entities: dict[tuple[str, str], _Entity] = {}
        self.gone: set[tuple[str, str]] = set()
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
        known = self._read("SELECT type, id FROM entity WHERE id", names)
        self.gone = {(kind, one) for kind, one in known if (kind, one) not in self.entities}

    def _read(self, sql: str, names: set[str], *, lock: bool = False, close: str = "") -> list[Any]:
        return select_in(self._database, sql, sorted(names), lock=lock, close=close) if names else []

    def _lives(self, noun: str, names: set[str]) -> dict[Key, list[_Life]]:
        """Lives by key, in order; the first of the key is the name looked up."""
        keys, more = _KEYS[noun], _MORE[noun]
        columns = [f"{name}_id" if name != "role" else name for name in keys]
        lives: dict[Key, list[_Life]] = defaultdict(list)
        listed = ", ".join([*columns, *_SPAN, "id", *more])
        for row in self._read(f"SELECT {listed} FROM {noun} WHERE {columns[0]}", names):
            key, (started, ended, number), values = (
                row[: len(keys)],
                row[len(keys) : len(keys) + 3],
                row[len(keys) + 3 :],
            )
            told = dict(zip(more, values, strict=True))
            lives[key].append(_Life(started, ended, number, told, told.pop("end_cause", "")))
        for found in lives.values():
            found.sort(key=lambda life: (life.started, life.ended))
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
        if "started_at" in said:
            self._require_span(said, started)
        outcome = _APPLY[line.kind](self, said, started)
        self._require_once(line, outcome)
        return outcome

    def _require_once(self, line: Line, outcome: Outcome) -> None:
        """A file that says two things of one would change it to and fro every night."""
        key = (line.kind, *(line.said.get(name) for name in _IDENTITY[line.kind]))
        if outcome == "changed":
            if key in self._changed or key in self._begun:
                raise InvalidInput(f"contradicts a line before it about the same {line.kind}")
            self._changed.add(key)
        elif outcome == "new":
            self._begun.add(key)

    def _subscription(self, said: dict[str, Any], started: int) -> Outcome:
        one, name = said["id"], said["name"]
        if one not in self.subscriptions:
            self._new[Subscription].append((one, name))
        renamed = self.subscriptions.setdefault(one, name) != name
        if renamed:
            self.subscriptions[one] = name
            self._renamed.append((one, name))
        outcome = self._live("licence", (one,), self.licences[(one,)], said, started)
        return "changed" if renamed and outcome in ("unchanged", "ended") else outcome

    def _practitioner(self, said: dict[str, Any], _started: int) -> Outcome:
        one, login, name = said["id"], said["login"], said["name"]
        held = self.practitioners.get(one)
        if held == (login, name):
            return "unchanged"
        if self.logins.get(login, one) != one:
            raise InvalidInput(f"the login of {one} is that of {self.logins[login]}")
        self.practitioners[one] = (login, name)
        self.logins[login] = one
        if held is None:
            self._new[Practitioner].append((one, login, name, search_key(name, login)))
            return "new"
        if held[0] != login:
            self.logins.pop(held[0], None)
        which = [field for field, was, now in zip(("login", "name"), held, (login, name), strict=True) if was != now]
        self._people_changed.append((one, login, name, which))
        return "changed"

    def _membership(self, said: dict[str, Any], started: int) -> Outcome:
        who, where, role = said["practitioner"], said["subscription"], said["role"]
        self._there("practitioner", who, self.practitioners)
        self._there("subscription", where, self.subscriptions)
        key = (who, where, role)
        before, practised = (who, where) in self.belongs, self._practises(who, where)
        rivals = [
            (other, life)
            for other in MEMBERSHIP_ROLES
            for life in self.members[who, where, other]
            if other != role and life.started < life.ended and life.ended > self._now
        ]
        replaced = [one for one in rivals if one[1].started < said["until"]]
        known = self.members[key]
        stands = any(life.ended > self._now for life in known if life.started < life.ended)
        same = any(life.started == started for life in known)
        if replaced and not stands and not ("started_at" in said and same):
            outcome = self._other_role(key, said, started, replaced)
        else:
            outcome = self._live("membership", key, known, said, started)
        self.belongs.add((who, where))
        if before and outcome in ("new", "changed") and not (practised and self._practises(who, where)):
            self._leave(who, where)
        return outcome

    def _other_role(self, key: Key, said: dict[str, Any], started: int, replaced: list[tuple[str, _Life]]) -> Outcome:
        """The line's role replaces the others: they end when it begins."""
        self._require_span(said, started)
        for role, life in replaced:
            if life.started >= started:
                raise InvalidInput(f"{key[0]} has the role {role} there from {format_micros(life.started)}")
            life.move_end(started, "")
        self._begin("membership", key, self.members[key], _Life(started, said["until"]))
        return "changed"

    def _practises(self, who: str, where: str) -> bool:
        lives = [life for role in PRACTISING for life in self.members[who, where, role]]
        return any(life.started <= self._now < life.ended for life in lives)

    def _leave(self, who: str, where: str) -> None:
        """End what a practitioner holds or gives in a clinic (R11): here what is in sight, the rest in `write`."""
        self._left.add((who, where))
        for held in self.patients.values():
            for grant in held.grants if held.subscription == where else ():
                if grant.practitioner == who and grant.role == "viewer":
                    self._cut(grant)
        for (owner, colleague, clinic), lives in self.shares.items():
            for life in lives if clinic == where and who in (owner, colleague) else ():
                self._cut(life)

    def _cut(self, life: _Life) -> None:
        if life.ended > max(self._now, life.started):
            life.move_end(max(self._now, life.started), "imported")

    def _patient(self, said: dict[str, Any], started: int) -> Outcome:
        one, where, owner = said["id"], said["subscription"], said["owner"]
        self._there("subscription", where, self.subscriptions)
        self._there("practitioner", owner, self.practitioners)
        held = self.patients.get(one)
        if held is not None:
            return self._known_patient(one, held, said)
        self._require_span(said, started)
        self._belongs(owner, where)
        held = self.patients[one] = _Patient(where, said["name"], said.get("reference", ""), started, said["until"])
        self._new[Patient].append((one, where, started))
        ended = said["until"] if said["until"] <= self._now else FOREVER_MICROS
        cause = "imported" if ended <= self._now else ""
        self._give(one, held, _Grant(started, ended, end_cause=cause, practitioner=owner, role="owner"))
        return "new"

    def _known_patient(self, one: str, held: _Patient, said: dict[str, Any]) -> Outcome:
        """A patient keeps clinic, start and first owner; the name and the end may change. The owner that a line names
        is the first or the present one: a transfer is a line of its own.
        """
        owners = sorted((grant for grant in held.grants if grant.role == "owner"), key=lambda grant: grant.started)
        if said["subscription"] != held.subscription or said.get("started_at", held.started) != held.started:
            raise InvalidInput(f"the patient {one} exists with another subscription or start")
        if said["owner"] not in (owners[0].practitioner, owners[-1].practitioner):
            raise InvalidInput(
                f"the patient {one} has another owner; a grant with the role owner transfers the patient"
            )
        until = said["until"]
        if held.ended <= self._now:
            return "ended" if until > self._now else "unchanged"
        before = list(held.changes)
        if said["name"] != held.name:
            held.name = said["name"]
            held.changes.append("name")
        if said.get("reference", "") != held.reference:
            held.reference = said.get("reference", "")
            held.changes.append("reference")
        if until != held.ended:
            held.ended = max(until, self._now, held.started)
            held.changes.append("until")
            for grant in held.grants if held.ended <= self._now else ():
                self._cut(grant)
        return "changed" if held.changes != before else "unchanged"

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
        found = self._match([grant for grant in mine if grant.role == "viewer"], said, started)
        if isinstance(found, _Life):
            return self._until(found, said["until"], mine)
        if found == "ended":
            return "ended"
        until = min(said["until"], held.ended) if held.ended <= self._now else said["until"]
        self._require_span({"until": until}, started)
        if any(grant.started < until and started < grant.ended for grant in mine):
            raise InvalidInput(f"{who} is the owner of {said['patient']} then")
        given = _Grant(started, until, practitioner=who, role="viewer", reason=said.get("reason", ""))
        self._give(said["patient"], held, given)
        return "new"

    def _next_owner(self, said: dict[str, Any], started: int, held: _Patient, mine: list[_Grant]) -> Outcome:
        """An owner grant says that the patient passed to a new owner: it ends the one before, and absorbs a share."""
        if said["until"] != FOREVER_MICROS:
            raise InvalidInput("an owner's grant has no until: the next owner's line ends it")
        owned = [grant for grant in mine if grant.role == "owner"]
        same = [grant for grant in owned if said.get("started_at", grant.started) == grant.started]
        if same:
            return "unchanged" if "started_at" in said or same[-1].ended == FOREVER_MICROS else "ended"
        if held.ended <= self._now:
            raise InvalidInput(f"the patient {said['patient']} has ended")
        last = max((grant for grant in held.grants if grant.role == "owner"), key=lambda grant: grant.started)
        if started <= last.started:
            raise InvalidInput(f"begins before or with the owner {last.practitioner}, {format_micros(last.started)}")
        if any(grant.started >= started and grant.ended > grant.started for grant in mine):
            raise InvalidInput(f"{said['practitioner']} holds a later grant on {said['patient']}")
        for grant in (last, *mine):
            if grant.ended > started:
                grant.move_end(started, "transfer")
        self._give(
            said["patient"],
            held,
            _Grant(
                started,
                FOREVER_MICROS,
                practitioner=said["practitioner"],
                role="owner",
                reason=said.get("reason", ""),
            ),
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
        key, content = (owner, colleague, where), said.get("content", False)
        lives = self.shares[key]
        more = {"content": content, "given_by": "", "reason": said.get("reason", ""), "ended_by": ""}
        found = self._match(lives, said, started)
        if not isinstance(found, _Life):
            return self._live("standing_share", key, lives, said, started, more)
        while (after := next((life for life in lives if life is not found and life.started == found.ended), None)) and (
            found.started < found.ended
        ):
            found = after
        if found.ended <= self._now or bool(found.more["content"]) == content:
            return self._until(found, said["until"], lives)
        if found.started >= self._now:
            raise InvalidInput(f"{owner} shares with {colleague} in this file already, with other content")
        found.move_end(self._now, "imported")
        self._begin("standing_share", key, lives, _Life(self._now, max(said["until"], self._now), more=more))
        return "changed"

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
        if before is None and key in self.gone:
            return "ended"
        if before is not None:
            if (before.properties, before.links) == (said["properties"], links):
                return "unchanged"
            if before.started >= self._now:
                raise InvalidInput(f"the {key[0]} {key[1]} stands in this file already, with other properties")
        where = self._owner(said["links"].values(), before)
        self.entities[key] = _Entity(said["properties"], links, self._now, where, before)
        self._new[Entity].append((*key, orjson.dumps(said["properties"]).decode(), where, self._now, FOREVER_MICROS))
        return "new" if before is None else "changed"

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

    def _require_span(self, said: Mapping[str, Any], started: int) -> None:
        if said.get("until", FOREVER_MICROS) <= started:
            raise InvalidInput(f"until {format_micros(said['until'])} is not after the start {format_micros(started)}")

    def _live(
        self,
        noun: str,
        key: Key,
        lives: list[_Life],
        said: dict[str, Any],
        started: int,
        more: dict[str, Any] | None = None,
    ) -> Outcome:
        """Begin the life that a line tells, or move the end of the one that stands."""
        found = self._match(lives, said, started)
        if isinstance(found, _Life):
            return self._until(found, said["until"], lives)
        if found == "new":
            self._require_span(said, started)
            self._begin(noun, key, lives, _Life(started, said["until"], more=more or {}))
        return found

    def _begin(self, noun: str, key: Key, lives: list[_Life], life: _Life) -> None:
        lives.append(life)
        self._new_lives.append((noun, key, life))

    def _match(self, lives: Sequence[_Life], said: dict[str, Any], started: int) -> _Life | Literal["new", "ended"]:
        """The life of which a line tells: by its start, or, without one, the one that stands. Without either it is
        new, or has ended here and stays so. Raises `InvalidInput` if it would overlap another.
        """
        lasting = [life for life in lives if life.started < life.ended]
        if "started_at" not in said:
            stands = [life for life in lasting if life.ended > self._now]
            return stands[0] if stands else "ended" if lives else "new"
        same = [life for life in lives if life.started == started]
        if same:
            return same[-1]
        self._require_apart(lasting, started, said["until"])
        return "new"

    def _until(self, life: _Life, until: int, others: Sequence[_Life]) -> Outcome:
        """Give a life that stands another end, at the earliest now. One that has ended stays ended."""
        if life.ended == until:
            return "unchanged"
        if life.ended <= self._now:
            return "ended" if until > self._now else "unchanged"
        if life.id is None or life.was:
            first, last = format_micros(life.started), format_micros(life.ended)
            raise InvalidInput(f"contradicts a line before it, from {first} until {last}")
        end = max(until, self._now, life.started)
        apart = [other for other in others if other is not life and other.started < other.ended]
        self._require_apart(apart, life.started, end)
        life.move_end(end, "imported" if end <= self._now else "")
        return "changed"

    def _require_apart(self, lives: Sequence[_Life], started: int, ended: int) -> None:
        for life in lives:
            if life.started < ended and started < life.ended:
                first, last = format_micros(life.started), format_micros(life.ended)
                raise InvalidInput(f"contradicts one that stands from {first} until {last}")

    # What is written.

    def write(self) -> None:
        """Write what the lines added and changed. The database's own checks stand behind those above."""
        database, new = self._database, self._new
        write_many(
            database,
            "UPDATE subscription SET name = {} WHERE id = {}",
            [(name, one) for one, name in self._renamed],
        )
        write_many(
            database,
            "UPDATE practitioner SET login = {}, name = {}, search_key = {} WHERE id = {}",
            [(login, name, search_key(name, login), one) for one, login, name, _ in self._people_changed],
        )
        insert_rows(database, Subscription, ("id", "name"), new[Subscription])
        insert_rows(database, Practitioner, ("id", "login", "name", "search_key"), new[Practitioner])
        moved = list(self._moved())
        for noun, _, life in moved:
            cause = [", end_cause = {}", [life.end_cause]] if noun == "standing_share" else ["", []]
            write_many(
                database,
                f"UPDATE {noun} SET ended_at = {{}}{cause[0]} WHERE id = {{}}",
                [(life.ended, *cause[1], life.id)],
            )
        begun = [(noun, key, life, _row(noun, key, life)) for noun, key, life in self._new_lives]
        for noun, model in _LIVES.items():
            rows = [tuple(row.values()) for name, _, _, row in begun if name == noun]
            insert_rows(database, model, _COLUMNS[noun], rows)
        insert_rows(database, Patient, _PATIENT_COLUMNS, self._new_patients())
        write_many(
            database,
            "UPDATE patient SET name = {}, reference = {}, search_key = {}, ended_at = {} WHERE id = {}",
            [
                (held.name, held.reference, search_key(held.name, held.reference), held.ended, one)
                for one, held in self.patients.items()
                if held.changes
            ],
        )
        ended = [(one, grant) for one, held in self.patients.items() for grant in held.grants if grant.was and grant.id]
        ended += self._left_over({grant.id for _, grant in ended})
        write_many(
            database,
            'UPDATE "grant" SET ended_at = {}, end_cause = {} WHERE id = {}',
            [(grant.ended, grant.end_cause, grant.id) for _, grant in ended],
        )
        given = [grant.row(patient) for patient, grant in self._new_grants]
        insert_rows(database, Grant, tuple(given[0]) if given else (), [tuple(row.values()) for row in given])
        self._write_entities()
        append(database, Actor("", from_micros(self._now)), self._happened(moved, ended, given))

    def _new_patients(self) -> list[tuple[Any, ...]]:
        """Patients as the last line about them in this stretch tells them."""
        made = []
        for one, where, started in self._new[Patient]:
            held = self.patients[one]
            key = search_key(held.name, held.reference)
            made.append((one, where, held.name, held.reference, key, started, held.ended))
            held.changes.clear()
        return made

    def _moved(self) -> Iterator[tuple[str, Key, _Life]]:
        """The stored lives whose end was changed; those of a leaver that no line names among them."""
        for noun, held in (("licence", self.licences), ("membership", self.members), ("standing_share", self.shares)):
            for key, lives in held.items():
                yield from ((noun, key, life) for life in lives if life.was and life.id)
        seen = {life.id for lives in self.shares.values() for life in lives}
        for who, where in sorted(self._left):
            for *key, started, ended, number, content, given_by, ended_by in self._standing_of(who, where):
                if number in seen:
                    continue
                seen.add(number)
                told = {"content": content, "given_by": given_by, "reason": "", "ended_by": ended_by}
                life = _Life(started, ended, number, told)
                self._cut(life)
                yield "standing_share", tuple(key), life

    def _standing_of(self, who: str, where: str) -> list[Any]:
        mark = self._database.param
        sql = (
            "SELECT owner_id, colleague_id, subscription_id, started_at, ended_at, id, content, given_by, ended_by "
            f"FROM standing_share WHERE (owner_id = {mark} OR colleague_id = {mark}) AND subscription_id = {mark} "
            f"AND ended_at > {mark} AND ended_at > started_at ORDER BY id"
        )
        return list(self._database.execute_sql(sql, (who, who, where, self._now)).fetchall())

    def _left_over(self, seen: set[int | None]) -> list[tuple[str, _Grant]]:
        """The stored shares of those who left that no line names, ended."""
        numbers = [
            number
            for who, where in sorted(self._left)
            for number, _ in held_shares(self._database, who, where, self._now)
            if number not in seen
        ]
        loaded = {grant.id for held in self.patients.values() for grant in held.grants}
        numbers = [number for number in dict.fromkeys(numbers) if number not in loaded]
        rows = select_in(self._database, f'SELECT {_GRANT} FROM "grant" WHERE id', numbers) if numbers else []
        cut = []
        for patient, *columns in rows:
            grant = _Grant(**dict(zip(_GRANT_FIELDS, columns, strict=True)))
            self._cut(grant)
            cut.append((patient, grant))
        return cut

    def _happened(
        self, moved: list[tuple[str, Key, _Life]], ended: list[tuple[str, _Grant]], given: list[dict[str, Any]]
    ) -> Iterator[NewEvent]:
        """What the lines changed, kind by kind; what ended before what began."""
        new = self._new
        for one, _ in new[Subscription]:
            yield NewEvent("subscription:imported", one, {"subscription": one})
        for one, _ in self._renamed:
            yield NewEvent("subscription:renamed", one, {"subscription": one})
        for one, *_ in new[Practitioner]:
            yield NewEvent("practitioner:imported", "", {"practitioner": one})
        for one, _, _, which in self._people_changed:
            yield NewEvent("practitioner:changed", "", {"practitioner": one, "changed": which})
        for one, where, *_ in new[Patient]:
            yield NewEvent("patient:imported", where, {"patient": one}, one)
        yield from self._patient_changes()
        for noun, key, life in moved:
            after = _row(noun, key, life)
            before = _before(after, life)
            verb = "ended" if life.ended <= self._now else "changed"
            body = fact_change(noun, before, after, **{noun: str(life.id)})
            yield NewEvent(f"{noun}:{verb}", after["subscription"], body)
        for noun in _LIVES:
            for row in (_row(name, key, life) for name, key, life in self._new_lives if name == noun):
                yield NewEvent(
                    f"{noun}:imported", row["subscription"], fact_change(noun, None, row), reason=row.get("reason", "")
                )
        for patient, grant in ended:
            after = grant.row(patient)
            body = fact_change("grant", _before(after, grant), after, grant=str(grant.id))
            verb = "ended" if grant.ended <= self._now else "changed"
            yield NewEvent(f"grant:{verb}", self._clinic_of(patient), body, patient)
        for row in given:
            body = fact_change("grant", None, row)
            yield NewEvent(
                "grant:imported", self.patients[row["patient"]].subscription, body, row["patient"], row["reason"]
            )
        for kind, one, *_ in new[Entity]:
            yield from self._versions((kind, one), self.entities[kind, one])

    def _patient_changes(self) -> Iterator[NewEvent]:
        for one, held in self.patients.items():
            if held.changes:
                over = "until" in held.changes and held.ended <= self._now
                if held.changes != ["until"] or not over:
                    yield NewEvent("patient:changed", held.subscription, {"changed": sorted(set(held.changes))}, one)
                if over:
                    yield NewEvent("patient:ended", held.subscription, {}, one)

    def _clinic_of(self, patient: str) -> str:
        if patient in self.patients:
            return self.patients[patient].subscription
        ((where,),) = self._read("SELECT subscription_id FROM patient WHERE id", {patient})
        return str(where)

    def _versions(self, key: tuple[str, str], new: _Entity) -> Iterator[NewEvent]:
        """The version of an entity that ended, if there was one, and the one that began."""
        names = {"type": key[0], "id": key[1]}
        if new.before is not None:
            told = {"before": new.before.told(key), "after": new.before.told(key, self._now)}
            yield NewEvent("entity:ended", new.before.subscription, names | told)
        yield NewEvent("entity:imported", new.subscription, names | {"before": None, "after": new.told(key)})

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


_APPLY: dict[str, Callable[[ImportBatch, dict[str, Any], int], Outcome]] = {
    "subscription": ImportBatch._subscription,
    "practitioner": ImportBatch._practitioner,
    "membership": ImportBatch._membership,
    "patient": ImportBatch._patient,
    "grant": ImportBatch._grant,
    "standing_share": ImportBatch._standing_share,
    "entity": ImportBatch._entity,
}
