"""The patients that a form is about: one, or the several that were selected, and whom handing them over touches."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import request

from api.auth import pdp, rates
from api.limits import MOST_SELECTED, charged
from api.web import session as sessions
from api.web.frame import patient_path
from authz.domain import Row
from authz.errors import Denied, InvalidInput, NotFound
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries
from authz.texts import describe_patient


@dataclass(frozen=True)
class Chosen:
    """Patients by id and name, the actions that all of them allow, and those that were left out for allowing none."""

    names: dict[str, str]
    actions: frozenset[str]
    left_out: tuple[str, ...]
    path: str

    @property
    def ids(self) -> list[str]:
        return list(self.names)

    @property
    def several(self) -> bool:
        return len(self.names) > 1

    @property
    def first(self) -> str:
        return next(iter(self.names.values()))


@dataclass(frozen=True)
class Touched:
    """Whom a transfer touches: who owns the patients now, who keeps their share, who saw them by a standing share, and
    who shares everything with the one who transfers. `holders` are the ids of those with a grant, by patient.
    """

    owners: dict[str, str]
    viewers: dict[str, str]
    standing: dict[str, str]
    sharing: dict[str, str]
    holders: dict[str, list[str]]


def one(patient: str, *actions: str) -> Chosen:
    """One patient that allows one of these actions. Raises `NotFound` and `Denied`."""
    row = practitioner_queries.patient(pdp(), sessions.actor(), patient, or_list_access=True)
    allowed = frozenset(actions) & set(row["actions"])
    if not allowed:
        raise Denied(actions[0])
    return Chosen({patient: describe_patient(row["name"], row["reference"])}, allowed, (), patient_path(patient))


def selected() -> list[str]:
    """The ids of the patients that a form names; those that only stand in its address were not shown in it."""
    return (request.form if request.method == "POST" else request.args).getlist("patient")


def several(patients: Sequence[str], *actions: str) -> Chosen:
    """Those of these patients that allow these actions. Raises `NotFound` if one is not the practitioner's to know.

    Raises `InvalidInput` for too many, before anything is asked.
    """
    if len(patients) > MOST_SELECTED:
        raise InvalidInput(f"Select at most {MOST_SELECTED} patients.")
    actor = sessions.actor()
    rates().spend(f"session:{actor.practitioner}", actor.now, requests=charged(len(patients)))
    names = practitioner_queries.names(pdp(), actor, patients)
    if set(patients) - set(names):
        raise NotFound
    may = practitioner_queries.actions(pdp(), actor, patients, *actions)
    left = [name for name in names if not may[name]]
    kept = {name: names[name] for name in dict.fromkeys(patients) if may[name]}
    if not kept:
        raise Denied(actions[0])
    common = frozenset.intersection(*(frozenset(may[name]) for name in kept))
    return Chosen(kept, common, tuple(names[name] for name in left), "/patients")


def colleagues(chosen: Chosen) -> list[Row]:
    """Who may receive all of these patients, by name."""
    found = practitioner_queries.colleagues_for_all(pdp(), sessions.actor(), chosen.ids)
    return sorted(found, key=lambda row: (row["search_key"], row["id"]))


def touched(chosen: Chosen, colleagues: list[Row]) -> Touched:
    """Whom handing these patients over to one of these colleagues touches."""
    actor = sessions.actor()
    sharing = {
        row["owner"]
        for row in practitioner_queries.standing_shares(pdp(), actor)
        if row["colleague"] == actor.practitioner
    }
    found = Touched({}, {}, {}, {row["id"]: row["name"] for row in colleagues if row["id"] in sharing}, {})
    for name in chosen.ids:
        rows = manager_queries.who_has_access(pdp(), actor, name)
        found.holders[name] = sorted(row["practitioner"] for row in rows if row["grant"] is not None)
        for row in rows:
            if row["role"] == "owner":
                found.owners[row["practitioner"]] = row["name"]
            elif row["origin"] == "standing_share":
                found.standing[row["practitioner"]] = row["name"]
            elif row["grant"] is not None:
                found.viewers[row["practitioner"]] = row["name"]
    return found
