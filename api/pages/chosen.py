"""The patients that a form is about: one, or the several that were selected, and whom handing them over touches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api import session as sessions
from api.credentials import pdp
from api.pages.frame import patient_path
from authz import directory, oversight
from authz.errors import Denied, NotFound
from authz.texts import describe_patient

Row = dict[str, Any]


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
    who shares everything with the one who transfers.
    """

    owners: dict[str, str]
    viewers: dict[str, str]
    standing: dict[str, str]
    sharing: dict[str, str]


def one(patient: str, *actions: str) -> Chosen:
    """One patient that allows one of these actions. Raises `NotFound` and `Denied`."""
    row = directory.patient(pdp(), sessions.act(), patient, overseen=True)
    allowed = frozenset(actions) & set(row["actions"])
    if not allowed:
        raise Denied(actions[0])
    return Chosen({patient: describe_patient(row["name"], row["reference"])}, allowed, (), patient_path(patient))


def several(patients: Sequence[str], *actions: str) -> Chosen:
    """Those of these patients that allow these actions. Raises `NotFound` if one is not the practitioner's to know."""
    act = sessions.act()
    names = directory.names(pdp(), act, patients)
    if set(patients) - set(names):
        raise NotFound
    may = directory.actions(pdp(), act, patients, *actions)
    left = [name for name in names if not may[name]]
    kept = {name: names[name] for name in dict.fromkeys(patients) if may[name]}
    if not kept:
        raise Denied(actions[0])
    common = frozenset.intersection(*(frozenset(may[name]) for name in kept))
    return Chosen(kept, common, tuple(names[name] for name in left), "/patients")


def colleagues(chosen: Chosen) -> list[Row]:
    """Who may receive all of these patients, by name."""
    found = [directory.colleagues(pdp(), sessions.act(), name=name) for name in chosen.ids]
    common = set.intersection(*({row["id"] for row in rows} for rows in found))
    return sorted((row for row in found[0] if row["id"] in common), key=lambda row: (row["search_key"], row["id"]))


def touched(chosen: Chosen, colleagues: list[Row]) -> Touched:
    """Whom handing these patients over to one of these colleagues touches."""
    act = sessions.act()
    sharing = {row["owner"] for row in directory.standing_shares(pdp(), act) if row["colleague"] == act.by}
    found = Touched({}, {}, {}, {row["id"]: row["name"] for row in colleagues if row["id"] in sharing})
    for name in chosen.ids:
        for row in oversight.who_has_access(pdp(), act, name):
            if row["role"] == "owner":
                found.owners[row["practitioner"]] = row["name"]
            elif row["origin"] == "standing_share":
                found.standing[row["practitioner"]] = row["name"]
            elif row["grant"] is not None:
                found.viewers[row["practitioner"]] = row["name"]
    return found
