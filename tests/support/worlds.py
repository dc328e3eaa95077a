"""Random facts and random policies of the compilable fragment, for the property tests.

Every instant lies within two microseconds of the instant that is asked about, so that most rows are at a boundary.
Policies are built from the schema, and together name everything that a policy may name.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import peewee
from hypothesis import strategies as st

from authz.database import Database
from authz.domain import FOREVER_MICROS, GRANT_ROLES, MEMBERSHIP_ROLES
from authz.models import (
    FACTS,
    Entity,
    EntityLink,
    EntityTarget,
    Grant,
    Licence,
    Membership,
    Patient,
    Practitioner,
    StandingShare,
    Subscription,
)
from authz.policy.compiler.schema import Scalar, ToMany, ToOne, ToTargets, read_schema

T = 1_780_000_000_000_000
CLINICS = ("north", "city")
PEOPLE = ("alice", "bob", "carol", "dan")
PATIENTS = ("p-1", "p-2", "p-3")
DOCUMENTS = ("d-1", "d-2", "d-3")
STARTS = (T - 2, T - 1, T, T + 1)
ENDS = (T - 1, T, T + 1, FOREVER_MICROS)
TYPES = """
[document]
patient = { type = "Patient", reverse = "documents" }
author = { type = "Practitioner", reverse = "written" }
next = "Document"
title = "string"
pages = "integer"
open = "boolean"
due = "datetime"
tags = ["string"]
readers = { type = ["Practitioner", "Document"], reverse = "reads" }
"""
SCHEMA = read_schema(TYPES)

Draw = Callable[..., Any]


def _maybe(draw: Draw, values: Any) -> Any:
    return draw(st.one_of(st.none(), st.sampled_from(values)))


@st.composite
def facts(draw: Draw) -> list[tuple[Any, dict[str, Any]]]:
    """Draw rows in an order in which they can be inserted; `insert` leaves out those that contradict the invariants."""
    rows: list[tuple[Any, dict[str, Any]]] = []

    def life() -> dict[str, int]:
        started, ended = draw(st.sampled_from(STARTS)), draw(st.sampled_from(ENDS))
        return {"started_at": started, "ended_at": max(started, ended)}

    def some(most: int) -> range:
        return range(draw(st.integers(0, most)))

    def pick(names: tuple[str, ...]) -> Any:
        return draw(st.sampled_from(names))

    rows += [(Subscription, {"id": clinic, "name": clinic}) for clinic in CLINICS]
    rows += [(Licence, {"subscription": pick(CLINICS), **life()}) for _ in some(3)]
    rows += [(Practitioner, {"id": who, "login": f"{who}@x.example", "name": who}) for who in PEOPLE]
    for _ in some(8):
        works = {"practitioner": pick(PEOPLE), "subscription": pick(CLINICS), "role": pick(MEMBERSHIP_ROLES)}
        rows.append((Membership, {**works, **life()}))
    rows += [(Patient, {"id": name, "subscription": pick(CLINICS), "name": name, **life()}) for name in PATIENTS]
    for _ in some(8):
        grant = {"patient": pick(PATIENTS), "practitioner": pick(PEOPLE), "role": pick(GRANT_ROLES)}
        rows.append((Grant, {**grant, "origin": "share", "reason": pick(("", "cover")), **life()}))
    for _ in some(4):
        ends = {"owner": pick(PEOPLE), "colleague": pick(PEOPLE), "subscription": pick(CLINICS)}
        rows.append((StandingShare, {**ends, "content": draw(st.booleans()), **life()}))
    for _ in some(5):
        rows.append((Entity, {"id": pick(DOCUMENTS), **draw(_document()), **life()}))
    return rows


@st.composite
def _document(draw: Draw) -> dict[str, Any]:
    properties = {
        "title": _maybe(draw, ("knee", "alice", "p-1", "")),
        "pages": _maybe(draw, (0, 1, 2)),
        "open": _maybe(draw, (True, False)),
        "due": _maybe(draw, (T - 1, T, T + 1)),
        "tags": _maybe(draw, (["knee"], ["alice", "knee"], [])),
    }
    links = {"patient": _maybe(draw, PATIENTS), "author": _maybe(draw, PEOPLE), "next": _maybe(draw, DOCUMENTS)}
    readers = [("practitioner", name) for name in (*PEOPLE, "gone")] + [("document", name) for name in DOCUMENTS]
    return {
        "targets": draw(st.sets(st.sampled_from(readers), max_size=3)),
        "properties": {name: value for name, value in properties.items() if value is not None},
        "links": {name: value for name, value in links.items() if value is not None},
    }


def insert(database: Database, rows: list[tuple[Any, dict[str, Any]]]) -> None:
    """Fill an emptied database with rows, leaving out those that the database refuses."""
    tables: tuple[Any, ...] = (EntityTarget, EntityLink, Entity, *reversed(FACTS))
    for table in tables:
        table.delete().execute(database)
    for model, values in rows:
        columns = dict(values)
        links, targets = columns.pop("links", {}), columns.pop("targets", ())
        if model is Entity:
            columns["type"] = "document"
            overlaps = (Entity.started_at < columns["ended_at"], Entity.ended_at > columns["started_at"])
            if Entity.select().where(Entity.id == columns["id"], *overlaps).exists(database):
                continue
        try:
            with database.atomic():
                key = model.insert(**columns).execute(database)
        except peewee.IntegrityError:
            continue
        for name, target in links.items():
            EntityLink.insert(entity=key, property=name, type="document", target=target).execute(database)
        for kind, target in sorted(targets):
            reader = {"property": "readers", "type": "document", "target_type": kind, "target": target}
            EntityTarget.insert(entity=key, **reader).execute(database)


HELPERS = """
live(fact) if fact.started_at <= now and now < fact.ended_at;
shares(giver, taker) if share in taker.standing_shares and share.owner = giver and live(share);
works(person, clinic, roles) if
    membership in person.memberships and membership.subscription = clinic and membership.role in roles and
    live(membership);
"""
LITERALS: dict[str, tuple[str, ...]] = {
    "string": ('"alice"', '"north"', '"p-1"', '"owner"', '"member"', '"knee"', '""'),
    "integer": ("0", "1", "2"),
    "boolean": ("true", "false"),
    "datetime": ("now",),
}


class _Body:
    """The conditions of one rule, in an order in which plain Oso has a value for everything that it compares."""

    def __init__(self, draw: Draw, known: dict[str, str]) -> None:
        self.draw = draw
        self.known = dict(known)
        self.named = 0

    def conditions(self, most: int) -> str:
        count = self.draw(st.integers(1, most))
        return " and ".join(self.condition() for _ in range(count))

    def condition(self) -> str:
        kinds = [self.relation, self.relation, self.scalar, self.scalar, self.rows, self.helper, self.either, self.nil]
        made: str = self.draw(st.sampled_from(kinds))()
        return made

    def path(self, wanted: Callable[[Any], bool]) -> tuple[str, Any] | None:
        """Return a path from a known row to a wanted property, through two to-one relations at most."""
        paths: list[tuple[str, Any]] = []
        waiting = [(name, kind, 0) for name, kind in self.known.items()]
        while waiting:
            text, kind, depth = waiting.pop()
            for prop in SCHEMA.types[kind].properties.values():
                if wanted(prop):
                    paths.append((f"{text}.{prop.name}", prop))
                if isinstance(prop, ToOne) and depth < 2:
                    waiting.append((f"{text}.{prop.name}", prop.target, depth + 1))
        return self.draw(st.sampled_from(sorted(paths, key=lambda path: path[0]))) if paths else None

    def row(self, kind: str) -> list[str]:
        """Return every known row of a type, and every row of it one relation away."""
        near = [name for name, other in self.known.items() if other == kind]
        for name, other in self.known.items():
            near += [
                f"{name}.{prop.name}"
                for prop in SCHEMA.types[other].properties.values()
                if isinstance(prop, ToOne) and prop.target == kind
            ]
        return sorted(near)

    def relation(self) -> str:
        text, prop = self.path(lambda prop: isinstance(prop, ToMany | ToTargets)) or ("", None)
        if prop is None:
            return "true"
        targets = prop.targets if isinstance(prop, ToTargets) else (prop.target,)
        same = [name for name, kind in self.known.items() if kind in targets]
        if same and self.draw(st.integers(0, 3)) == 0:
            return f"{self.draw(st.sampled_from(same))} in {text}"
        self.named += 1
        name = f"v{self.named}"
        self.known[name] = self.draw(st.sampled_from(targets))
        typed = f" and {name} matches {self.known[name]}" if len(targets) > 1 else ""
        return f"{name} in {text}{typed}"

    def scalar(self) -> str:
        text, prop = self.path(lambda prop: isinstance(prop, Scalar) and prop.name != "rules") or ("", None)
        assert isinstance(prop, Scalar)
        literals = LITERALS[prop.kind]
        if prop.many:
            return f"{self.draw(st.sampled_from(literals))} in {text}"
        shape = self.draw(st.integers(0, 3))
        if shape == 0 and prop.kind == "string":
            some = self.draw(st.lists(st.sampled_from(literals), min_size=1, max_size=3))
            return f"{text} in [{', '.join(some)}]"
        if shape == 1:
            other = self.path(
                lambda other: isinstance(other, Scalar) and (other.kind, other.many) == (prop.kind, False)
            )
            assert other is not None
            right = other[0]
        else:
            right = self.draw(st.sampled_from(literals))
        ordered = prop.kind in ("integer", "datetime")
        comparisons = ("=", "!=", "<", "<=", ">", ">=") if ordered else ("=", "!=")
        return f"{text} {self.draw(st.sampled_from(comparisons))} {right}"

    def rows(self) -> str:
        text, prop = self.path(lambda prop: isinstance(prop, ToOne)) or ("", None)
        assert isinstance(prop, ToOne)
        rivals = self.row(prop.target)
        if not rivals:
            return "true"
        return f"{text} {self.draw(st.sampled_from(('=', '=', '!=')))} {self.draw(st.sampled_from(rivals))}"

    def helper(self) -> str:
        people, clinics = self.row("Practitioner"), self.row("Subscription")
        facts = [name for name, kind in self.known.items() if "ended_at" in SCHEMA.types[kind].properties]
        made = [f"live({name})" for name in facts]
        made += [f"shares({giver}, {taker})" for giver in people for taker in people]
        roles = ('["member"]', '["member", "manager"]')
        made += [f"works({who}, {where}, {role})" for who in people for where in clinics for role in roles]
        return str(self.draw(st.sampled_from(made))) if made else "true"

    def either(self) -> str:
        alternatives = [_Body(self.draw, self.known) for _ in range(2)]
        for number, alternative in enumerate(alternatives, 1):
            alternative.named = self.named + 10 * number
        self.named += 40
        return f"({' or '.join(f'({alternative.conditions(2)})' for alternative in alternatives)})"

    def nil(self) -> str:
        choice = self.path(lambda prop: getattr(prop, "nullable", False) and not getattr(prop, "many", False))
        return f"{choice[0]} {self.draw(st.sampled_from(('=', '!=')))} nil" if choice else "true"


_VARIABLE = re.compile(r"(?<![\w.\"])(?:a|r|v\d+)(?![\w\"])")


def _mark_unused(rule: str) -> str:
    """Give a variable that occurs once in a rule the underscore that Polar demands: `a` becomes `_a`."""
    counts = Counter(_VARIABLE.findall(rule))
    return _VARIABLE.sub(lambda match: f"_{match[0]}" if counts[match[0]] == 1 else match[0], rule)


BLOCKS = """
actor Practitioner {}
resource Patient {
    roles = ["keeper", "reader"];
    permissions = ["view", "edit"];
    "view" if "reader";
    "edit" if "keeper";
    "reader" if "keeper";
}
resource Document {
    permissions = ["view", "edit"];
    relations = { patient: Patient };
    "view" if "view" on "patient";
    "edit" if "keeper" on "patient";
}
has_relation(patient: Patient, "patient", document: Document) if document.patient = patient;
"""


@st.composite
def policies(draw: Draw) -> dict[str, str]:
    """Draw a policy of some rules, with or without resource blocks."""
    lines = [HELPERS]
    blocks = draw(st.booleans())
    if blocks:
        lines += [BLOCKS, "allow(a: Practitioner, action, r: Patient) if has_permission(a, action, r);"]
        lines += ["allow(a: Practitioner, action, r: Document) if has_permission(a, action, r);"]
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("Patient", "Document")))
        action = draw(st.sampled_from(('"view"', '"edit"')))
        body = _Body(draw, {"a": "Practitioner", "r": kind}).conditions(4)
        if blocks and kind == "Patient":
            role = draw(st.sampled_from(("keeper", "reader")))
            head = f'has_role(a: Practitioner, "{role}", r: Patient)'
        else:
            head = f"allow(a: Practitioner, {action}, r: {kind})"
        lines.append(_mark_unused(f"{head} if {body};"))
    return {"policy.polar": "\n".join(lines), "types.toml": TYPES}
