"""The patients that a form is about: one patient or several, and the people whom a transfer of them affects."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from flask import Response, request
from markupsafe import Markup

from api.auth import pdp, rates
from api.limits import MOST_SELECTED, extra_requests
from api.web import kept_selection
from api.web import session as sessions
from api.web.frame import own_path, patient_path, redirect_with_message
from api.web.wording import FormError
from authz.domain import Row
from authz.errors import BatchRefused, CaregrantError, Denied, NotFound, Unavailable
from authz.queries import practitioner as practitioner_queries
from authz.queries import several_patients
from authz.texts import describe_patient


@dataclass(frozen=True)
class Selection:
    """Patients as id and name, the actions that every one of them allows, and the page to go back to.

    `left_out` names the selected patients that allow none of the actions, `unknown` is the number of those that the
    practitioner does not know any more. `of_list` tells that the patients were selected in a list.
    """

    names: dict[str, str]
    actions: frozenset[str]
    left_out: tuple[str, ...]
    path: str
    of_list: bool = False
    unknown: int = 0

    def complete(self) -> None:
        """Take the patients out of what is ticked in lists, after the form was carried out: a fault undoes nothing."""
        with suppress(Unavailable):
            kept_selection.drop(self.names)

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
    transfers. `holders` are the ids of the practitioners with a grant, by patient; `access` says who holds which.
    """

    owners: dict[str, str] = field(default_factory=dict)
    viewers: dict[str, str] = field(default_factory=dict)
    standing: dict[str, str] = field(default_factory=dict)
    sharing: dict[str, str] = field(default_factory=dict)
    holders: dict[str, list[str]] = field(default_factory=dict)
    access: dict[str, several_patients.PatientAccess] = field(default_factory=dict)


def select_patient(patient: str, *actions: str) -> Selection:
    """Return the selection of one patient that allows one of these actions. Raises `NotFound` and `Denied`."""
    row = practitioner_queries.patient(pdp(), sessions.actor(), patient, or_list_access=True)
    allowed = frozenset(actions) & set(row["actions"])
    if not allowed:
        raise Denied(actions[0])
    return Selection({patient: describe_patient(row["name"], row["reference"])}, allowed, (), patient_path(patient))


def selected_ids() -> list[str]:
    """Return the ids of the selected patients.

    Of a form that was sent, the ids that the form itself names, without the patient whose *Remove* was pressed, and
    with those that an earlier refusal left out if *Select again* was pressed. Of an address, the ids that the address
    names; those that are ticked in lists if it names none, unless it has `named`.
    """
    if request.method != "POST":
        named = request.args.getlist("patient")
        return named if named or "named" in request.args else kept_selection.kept()
    ids, form = request.form.getlist("patient"), request.form
    if "again" in form:
        ids += form.getlist("refused")
    if "remove" in form:
        kept_selection.drop([form["remove"]])
        ids = [patient for patient in ids if patient != form["remove"]]
    return ids


def is_submitted() -> bool:
    """Return whether a form is to be carried out: it was sent, and not by a button that only changes the form."""
    return request.method == "POST" and not {"search", "remove", "again"} & set(request.form)


def redirect_without_patients() -> Response:
    """Redirect from a form without patients to the list."""
    back = own_path(request.values.get("back", ""), "/patients")
    return redirect_with_message(back, Markup("Select a patient first."))


def select_patients(patients: Sequence[str], *actions: str) -> Selection:
    """Return the selection of those patients that allow one of these actions.

    Of patients that are ticked in lists, those that the practitioner does not know any more are left out. Raises
    `FormError` for too many patients, `NotFound` if the practitioner may not know about one of the others, and `Denied`
    if no patient allows one of the actions.
    """
    if len(patients) > MOST_SELECTED:
        raise FormError("patients", f"Select at most {MOST_SELECTED} patients.")
    actor = sessions.actor()
    rates().spend(f"session:{actor.practitioner}", actor.now, requests=extra_requests(len(patients)))
    names = practitioner_queries.names(pdp(), actor, patients)
    unknown = set(patients) - set(names)
    if unknown and (request.method == "POST" or "patient" in request.args or not names):
        raise NotFound
    kept_selection.drop(unknown)
    known = [patient for patient in dict.fromkeys(patients) if patient in names]
    allowed = practitioner_queries.actions(pdp(), actor, known, *actions)
    left_out = tuple(name for patient, name in names.items() if not allowed[patient])
    kept = {patient: names[patient] for patient in known if allowed[patient]}
    if not kept:
        raise Denied(actions[0])
    common = frozenset.intersection(*(frozenset(allowed[patient]) for patient in kept))
    return Selection(kept, common, left_out, "/patients", of_list=True, unknown=len(unknown))


def without_refused(selection: Selection, error: CaregrantError | None) -> tuple[Selection, dict[str, str]]:
    """Return the selection without the patients that a refusal is about, and those patients as id and name.

    If no other patient remains, the selection stays as it is.
    """
    refused = {index for index, _ in error.refusals} if isinstance(error, BatchRefused) else set()
    items = list(selection.names.items())
    names = dict(item for index, item in enumerate(items) if index not in refused)
    if not refused or not names:
        return selection, {}
    return replace(selection, names=names), {items[index][0]: items[index][1] for index in sorted(refused)}


def list_receivers(selection: Selection) -> list[Row]:
    """Return the colleagues who may receive every selected patient, by name."""
    return several_patients.receivers_of_all(pdp(), sessions.actor(), selection.ids)


def transfer_impact(selection: Selection, receivers: list[Row]) -> TransferImpact:
    """Return whom a transfer of the selected patients to one of these receivers affects."""
    actor = sessions.actor()
    share_with_actor = {
        row["owner"]
        for row in practitioner_queries.standing_shares(pdp(), actor)
        if row["colleague"] == actor.practitioner
    }
    access = several_patients.access_to_each(pdp(), actor, selection.ids)
    owners = {entry.owner for entry in access.values()}
    viewers = {viewer for entry in access.values() for viewer in entry.viewers}
    standing = {viewer for entry in access.values() for viewer in entry.standing}
    people = practitioner_queries.people(pdp(), sorted(owners | viewers | standing))

    def named(ids: set[str]) -> dict[str, str]:
        return {practitioner: row["name"] for practitioner, row in people.items() if practitioner in ids}

    return TransferImpact(
        owners=named(owners),
        viewers=named(viewers),
        standing=named(standing),
        sharing={row["id"]: row["name"] for row in receivers if row["id"] in share_with_actor},
        holders={patient: sorted([entry.owner, *entry.viewers]) for patient, entry in access.items()},
        access=access,
    )
