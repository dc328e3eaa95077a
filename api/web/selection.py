"""The patients that a form is about: one patient or several, and the people whom a transfer of them affects."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flask import request

from api.auth import pdp, rates
from api.limits import MOST_SELECTED, extra_requests
from api.web import session as sessions
from api.web.frame import patient_path
from api.web.wording import FormError
from authz.domain import Row
from authz.errors import Denied, NotFound
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries
from authz.texts import describe_patient


@dataclass(frozen=True)
class Selection:
    """Patients as id and name, the actions that every one of them allows, and the page to go back to.

    `left_out` names the selected patients that allow none of the actions.
    """

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
    def first_name(self) -> str:
        return next(iter(self.names.values()))


@dataclass(frozen=True)
class TransferImpact:
    """The people whom a transfer affects, each as id and name.

    `owners` own the patients now. `viewers` keep their shares. `standing` see the patients by a standing share, which
    ends for these patients. `sharing` are possible new owners who share all their patients with the practitioner who
    transfers. `holders` are the ids of the practitioners with a grant, by patient.
    """

    owners: dict[str, str] = field(default_factory=dict)
    viewers: dict[str, str] = field(default_factory=dict)
    standing: dict[str, str] = field(default_factory=dict)
    sharing: dict[str, str] = field(default_factory=dict)
    holders: dict[str, list[str]] = field(default_factory=dict)


def select_patient(patient: str, *actions: str) -> Selection:
    """Return the selection of one patient that allows one of these actions. Raises `NotFound` and `Denied`."""
    row = practitioner_queries.patient(pdp(), sessions.actor(), patient, or_list_access=True)
    allowed = frozenset(actions) & set(row["actions"])
    if not allowed:
        raise Denied(actions[0])
    return Selection({patient: describe_patient(row["name"], row["reference"])}, allowed, (), patient_path(patient))


def selected_ids() -> list[str]:
    """Return the ids of the selected patients; of a form that was sent, only those that the form itself names."""
    return (request.form if request.method == "POST" else request.args).getlist("patient")


def select_patients(patients: Sequence[str], *actions: str) -> Selection:
    """Return the selection of those patients that allow one of these actions.

    Raises `FormError` for too many patients, `NotFound` if the practitioner may not know about one of them, and
    `Denied` if no patient allows one of the actions.
    """
    if len(patients) > MOST_SELECTED:
        raise FormError("patients", f"Select at most {MOST_SELECTED} patients.")
    actor = sessions.actor()
    rates().spend(f"session:{actor.practitioner}", actor.now, requests=extra_requests(len(patients)))
    names = practitioner_queries.names(pdp(), actor, patients)
    if set(patients) - set(names):
        raise NotFound
    allowed = practitioner_queries.actions(pdp(), actor, patients, *actions)
    left_out = tuple(name for patient, name in names.items() if not allowed[patient])
    kept = {patient: names[patient] for patient in dict.fromkeys(patients) if allowed[patient]}
    if not kept:
        raise Denied(actions[0])
    common = frozenset.intersection(*(frozenset(allowed[patient]) for patient in kept))
    return Selection(kept, common, left_out, "/patients")


def list_receivers(selection: Selection) -> list[Row]:
    """Return the colleagues who may receive every selected patient, by name."""
    colleagues = practitioner_queries.colleagues_for_all(pdp(), sessions.actor(), selection.ids)
    return sorted(colleagues, key=lambda row: (row["search_key"], row["id"]))


def transfer_impact(selection: Selection, receivers: list[Row]) -> TransferImpact:
    """Return whom a transfer of the selected patients to one of these receivers affects."""
    actor = sessions.actor()
    share_with_actor = {
        row["owner"]
        for row in practitioner_queries.standing_shares(pdp(), actor)
        if row["colleague"] == actor.practitioner
    }
    impact = TransferImpact(sharing={row["id"]: row["name"] for row in receivers if row["id"] in share_with_actor})
    for patient in selection.ids:
        rows = manager_queries.who_has_access(pdp(), actor, patient)
        impact.holders[patient] = sorted(row["practitioner"] for row in rows if row["grant"] is not None)
        for row in rows:
            if row["role"] == "owner":
                impact.owners[row["practitioner"]] = row["name"]
            elif row["origin"] == "standing_share":
                impact.standing[row["practitioner"]] = row["name"]
            elif row["grant"] is not None:
                impact.viewers[row["practitioner"]] = row["name"]
    return impact
