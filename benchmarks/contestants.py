"""The contestants: other ways to answer "may this practitioner view this patient?" from the same tables.

All answer the whole rule: a live member of the patient's clinic may view the patient as owner, as viewer by a live
share, or as colleague by a live standing share. Cedar and Casbin have no facts of their own. As in an application,
three small queries on the same indexes read the facts of a question first.
"""

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

import orjson
from oso import Oso

from authz.database import Database
from authz.domain import to_micros
from authz.models import FACTS, Practitioner
from authz.models import Patient as PatientModel
from authz.policy.pdp import PDP
from authz.settings import shipped_folder
from benchmarks.data import NOW

MICROS = to_micros(NOW)
Ask = Callable[[str, str], bool]

_LIVE = "{0}.started_at <= {1} AND {1} < {0}.ended_at"


def _rule(who: str, patient: str, now: str) -> str:
    """Return the rule as the body of an EXISTS, from the SQL for practitioner, patient and instant."""

    def live(alias: str) -> str:
        return _LIVE.format(alias, now)

    def member(alias: str, person: str) -> str:
        return f"""membership {alias} WHERE {alias}.practitioner_id = {person}
            AND {alias}.subscription_id = p.subscription_id AND {alias}.role IN ('member', 'manager')
            AND {live(alias)}"""

    return f"""patient p WHERE p.id = {patient} AND {live("p")}
        AND EXISTS (SELECT 1 FROM {member("m", who)})
        AND EXISTS (SELECT 1 FROM licence l WHERE l.subscription_id = p.subscription_id AND {live("l")})
        AND (EXISTS (SELECT 1 FROM "grant" g WHERE g.patient_id = p.id AND g.practitioner_id = {who}
                AND g.role IN ('owner', 'viewer') AND {live("g")})
            OR EXISTS (SELECT 1 FROM standing_share s
                JOIN "grant" o ON o.patient_id = p.id AND o.practitioner_id = s.owner_id AND o.role = 'owner'
                    AND {live("o")}
                WHERE s.colleague_id = {who} AND s.subscription_id = p.subscription_id AND {live("s")}
                AND EXISTS (SELECT 1 FROM {member("n", "s.owner_id")})))"""


def by_hand(database: Database) -> Ask:
    """Ask one parametrised query through the driver alone."""
    connection = database.connection()
    if database.dialect == "sqlite":
        sql = f"SELECT EXISTS (SELECT 1 FROM {_rule(':who', ':patient', ':now')})"
    else:
        sql = f"SELECT EXISTS (SELECT 1 FROM {_rule('%(who)s', '%(patient)s', '%(now)s')})"
    return lambda who, patient: bool(
        connection.execute(sql, {"who": who, "patient": patient, "now": MICROS}).fetchone()[0]
    )


def batch_by_hand(database: Database) -> Callable[[list[tuple[str, str]]], list[bool]]:
    """Ask many questions in one query over `json_each`."""
    connection = database.connection()
    sql = f"""SELECT q.key FROM json_each(:pairs) q
        WHERE EXISTS (SELECT 1 FROM {_rule("q.value ->> 0", "q.value ->> 1", ":now")})"""

    def ask(pairs: list[tuple[str, str]]) -> list[bool]:
        allowed = [False] * len(pairs)
        for (key,) in connection.execute(sql, {"now": MICROS, "pairs": orjson.dumps(pairs).decode()}):
            allowed[key] = True
        return allowed

    return ask


def _derivations(now: str) -> tuple[str, str]:
    """Return the rule in SQL for lists: a SELECT for grants of one's own, a SELECT for standing shares.

    A caller appends a condition on the practitioner or on the patient `p`.
    """
    live = {alias: _LIVE.format(alias, now) for alias in "pmlgosn"}
    here = f"""m.role IN ('member', 'manager') AND {live["m"]} AND {live["p"]}
        AND EXISTS (SELECT 1 FROM licence l WHERE l.subscription_id = p.subscription_id AND {live["l"]})"""
    own = f"""SELECT g.practitioner_id AS who, p.id AS patient FROM "grant" g JOIN patient p ON p.id = g.patient_id
        JOIN membership m ON m.practitioner_id = g.practitioner_id AND m.subscription_id = p.subscription_id
        WHERE g.role IN ('owner', 'viewer') AND {live["g"]} AND {here}"""
    standing = f"""SELECT s.colleague_id AS who, p.id AS patient FROM standing_share s
        JOIN "grant" o ON o.practitioner_id = s.owner_id AND o.role = 'owner' AND {live["o"]}
        JOIN patient p ON p.id = o.patient_id AND p.subscription_id = s.subscription_id
        JOIN membership n ON n.practitioner_id = s.owner_id AND n.subscription_id = p.subscription_id
            AND n.role IN ('member', 'manager') AND {live["n"]}
        JOIN membership m ON m.practitioner_id = s.colleague_id AND m.subscription_id = p.subscription_id
        WHERE {live["s"]} AND {here}"""
    return own, standing


def list_by_hand(database: Database) -> Callable[[str], list[str]]:
    """List all patients of a practitioner, in order."""
    own, standing = _derivations(":now")
    sql = f"""SELECT patient FROM ({own} AND g.practitioner_id = :who UNION {standing} AND s.colleague_id = :who)
        ORDER BY patient"""
    connection = database.connection()
    return lambda who: [row[0] for row in connection.execute(sql, {"who": who, "now": MICROS})]


def who_by_hand(database: Database) -> Callable[[str], list[str]]:
    """List all practitioners who may view a patient, in order."""
    own, standing = _derivations(":now")
    sql = f"""SELECT who FROM ({own} AND p.id = :patient UNION {standing} AND p.id = :patient) ORDER BY who"""
    connection = database.connection()
    return lambda patient: [row[0] for row in connection.execute(sql, {"patient": patient, "now": MICROS})]


def matrix_by_hand(database: Database) -> Callable[[], list[tuple[str, str]]]:
    """List every permitted pair, in order."""
    own, standing = _derivations(":now")
    sql = f"SELECT who, patient FROM ({own} UNION {standing}) ORDER BY who, patient"
    connection = database.connection()
    return lambda: connection.execute(sql, {"now": MICROS}).fetchall()


def caregrant(pdp: PDP) -> Ask:
    """Ask Caregrant's own `PDP.evaluate`."""
    return lambda who, patient: pdp.evaluate(("practitioner", who), "view", ("patient", patient)).allowed


def plain_oso(database: Database) -> Ask:
    """Ask `Oso.is_allowed` with the same policy files, over the Peewee models."""
    database.bind(list(FACTS))
    setattr(Practitioner, "rules", [f"R{number}" for number in range(1, 10)])  # noqa: B010 - a field of the policy's
    oso = Oso()
    for model in FACTS:
        oso.register_class(model)
    oso.register_class(type("Document", (), {}), name="Document")
    oso.register_constant(NOW, "now")
    with contextlib.redirect_stdout(io.StringIO()):
        oso.load_files([str(path) for path in sorted(shipped_folder("policies").glob("*.polar"))])

    def ask(who: str, patient: str) -> bool:
        ends = Practitioner.get_by_id(who), PatientModel.get_by_id(patient)
        answer: bool = oso.is_allowed(ends[0], "view", ends[1])
        return answer

    return ask


def _facts(database: Database) -> Callable[[str, str], dict[str, Any]]:
    """Return a function that reads the facts of one question, for an engine without a database."""
    connection = database.connection()
    live = {alias: _LIVE.format(alias, ":now") for alias in "pmlgsn"}
    practises = f"""SELECT m.subscription_id FROM membership m WHERE m.practitioner_id = :who
        AND m.role IN ('member', 'manager') AND {live["m"]}
        AND EXISTS (SELECT 1 FROM licence l WHERE l.subscription_id = m.subscription_id AND {live["l"]})"""
    holders = f"""SELECT p.subscription_id, g.practitioner_id, g.role FROM patient p
        LEFT JOIN "grant" g ON g.patient_id = p.id AND {live["g"]} WHERE p.id = :patient AND {live["p"]}"""
    shared = f"""SELECT s.owner_id, s.subscription_id FROM standing_share s
        JOIN membership n ON n.practitioner_id = s.owner_id AND n.subscription_id = s.subscription_id
            AND n.role IN ('member', 'manager') AND {live["n"]}
        WHERE s.colleague_id = :who AND {live["s"]}"""

    def read(who: str, patient: str) -> dict[str, Any]:
        arguments = {"who": who, "patient": patient, "now": MICROS}
        grants = connection.execute(holders, arguments).fetchall()
        subscription = grants[0][0] if grants else ""
        return {
            "practises": [clinic for (clinic,) in connection.execute(practises, arguments)],
            "shared": [owner for owner, where in connection.execute(shared, arguments) if where == subscription],
            "subscription": subscription,
            "owners": [owner for _, owner, role in grants if role == "owner"],
            "viewers": [viewer for _, viewer, role in grants if role == "viewer"],
        }

    return read


_CEDAR = """permit (principal, action == Action::"view", resource) when {
    principal in resource.subscription &&
    (resource.holders.contains(principal) || resource.owners.containsAny(principal.shared))
};"""


def cedar(database: Database) -> Ask | None:
    """Ask Cedar through cedarpy: the policies are parsed once, the entities are made from the facts of a question."""
    try:
        import cedarpy  # noqa: PLC0415
    except ImportError:
        return None
    read, policies = _facts(database), cedarpy.PolicySet.from_str(_CEDAR)

    def person(name: str) -> dict[str, Any]:
        return {"__entity": {"type": "Practitioner", "id": name}}

    def ask(who: str, patient: str) -> bool:
        facts = read(who, patient)
        entities = [
            {
                "uid": {"type": "Practitioner", "id": who},
                "attrs": {"shared": [person(owner) for owner in facts["shared"]]},
                "parents": [{"type": "Subscription", "id": clinic} for clinic in facts["practises"]],
            },
            {
                "uid": {"type": "Patient", "id": patient},
                "attrs": {
                    "subscription": {"__entity": {"type": "Subscription", "id": facts["subscription"]}},
                    "owners": [person(owner) for owner in facts["owners"]],
                    "holders": [person(holder) for holder in (*facts["owners"], *facts["viewers"])],
                },
                "parents": [],
            },
        ]
        request = {
            "principal": f"Practitioner::{json.dumps(who)}",
            "action": 'Action::"view"',
            "resource": f"Patient::{json.dumps(patient)}",
        }
        return bool(cedarpy.is_authorized(request, policies, orjson.dumps(entities).decode()).allowed)

    return ask


_CASBIN = """[request_definition]
r = sub, obj, act

[policy_definition]
p = act

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.act == p.act && r.obj.subscription in r.sub.practises && \
(r.sub.id in r.obj.owners || r.sub.id in r.obj.viewers || r.sub.shares(r.obj.owners))
"""


class _Subject:
    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        self.id, self.practises, self._shared = name, facts["practises"], facts["shared"]

    def shares(self, owners: list[str]) -> bool:
        return any(owner in owners for owner in self._shared)


class _Object:
    def __init__(self, facts: dict[str, Any]) -> None:
        self.subscription, self.owners, self.viewers = facts["subscription"], facts["owners"], facts["viewers"]


def casbin(database: Database) -> Ask | None:
    """Ask Casbin through pycasbin: a matcher over objects that are made from the facts of a question."""
    try:
        import casbin as pycasbin  # noqa: PLC0415
    except ImportError:
        return None
    model = pycasbin.Model()
    model.load_model_from_text(_CASBIN)
    enforcer = pycasbin.Enforcer(model)
    enforcer.add_policy("view")
    read = _facts(database)

    def ask(who: str, patient: str) -> bool:
        facts = read(who, patient)
        return bool(enforcer.enforce(_Subject(who, facts), _Object(facts), "view"))

    return ask
