"""The response bodies, each a model: the OpenAPI document is made from them, and tests check the answers against it.

The name of a model is what the body contains, with the ending `Body`; the plural is a list or a page of them.
"""

from typing import Literal

from pydantic import BaseModel

Instant = str


class FieldErrorBody(BaseModel):
    """An error in one member of the request: a JSON pointer (RFC 6901) and a message."""

    pointer: str
    message: str


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorBody] = []


class DecisionBody(BaseModel):
    """A decision (AuthZEN 5.5); `docs/reference/http.md` lists the members of its context."""

    decision: bool
    context: dict[str, object]


class DecisionsBody(BaseModel):
    """Decisions in the order of the request (AuthZEN 7.2)."""

    evaluations: list[DecisionBody]


class DecisionOrDecisionsBody(BaseModel):
    """Decisions in the order of the request; or one decision, if the request has no `evaluations`."""

    decision: bool | None = None
    context: dict[str, object] | None = None
    evaluations: list[DecisionBody] | None = None


class PageBody(BaseModel):
    """The position of a page (AuthZEN 8.2.2); the token of the last page is empty."""

    next_token: str
    count: int


class EntityRefBody(BaseModel):
    """A subject or a resource that a search finds."""

    type: str
    id: str


class ActionRefBody(BaseModel):
    """An action that a search finds."""

    name: str


class EntitySearchBody(BaseModel):
    """A page of subjects or resources (AuthZEN 8.3)."""

    page: PageBody
    results: list[EntityRefBody]


class ActionSearchBody(BaseModel):
    """A page of actions (AuthZEN 8.3)."""

    page: PageBody
    results: list[ActionRefBody]


class MetadataBody(BaseModel):
    """The AuthZEN metadata (9.1)."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str
    signed_metadata: str | None = None


class OwnMembershipBody(BaseModel):
    """A live membership of the practitioner who asks."""

    subscription: str
    name: str
    role: Literal["member", "manager", "auditor"]


class MeBody(BaseModel):
    """The practitioner who asks."""

    id: str
    login: str
    name: str
    memberships: list[OwnMembershipBody]


class PatientBody(BaseModel):
    """A patient in a list, as a practitioner sees a patient whom they view or may hand over."""

    id: str
    name: str
    reference: str | None
    role: Literal["owner", "viewer", "manager"]
    owner: str
    until: Instant | None


class PatientsBody(BaseModel):
    """A page of patients."""

    items: list[PatientBody]
    next: str | None


class PatientDetailBody(PatientBody):
    """A patient, with the actions that the practitioner may take."""

    actions: list[str]


class EditedPatientBody(BaseModel):
    """A patient with the name and the reference after a change."""

    id: str
    name: str
    reference: str | None
    subscription: str


class AddedPatientBody(BaseModel):
    """A patient who was added, and the owner's grant."""

    id: str
    name: str
    reference: str | None
    subscription: str
    grant: str


class GrantBody(BaseModel):
    """The access of one practitioner to a patient, with its beginning and its end."""

    id: str
    patient: str
    practitioner: str
    login: str
    name: str
    role: Literal["owner", "viewer"]
    origin: str
    given_by: str | None
    reason: str
    started_at: Instant
    until: Instant | None


class GrantsBody(BaseModel):
    """The live grants of a patient, the owner's first."""

    items: list[GrantBody]


class SharesBody(BaseModel):
    """Several shares that were made in one batch."""

    batch: str
    items: list[GrantBody]


class TransferBody(BaseModel):
    """A patient who was transferred; the practitioner who did it may undo it until `undo_until`."""

    patient: str
    owner: str
    previous_owner: str
    kept_shares: list[GrantBody]
    undo_until: Instant


class TransfersBody(BaseModel):
    """Several transfers that were made in one batch."""

    batch: str
    items: list[TransferBody]


class UndoneTransferBody(BaseModel):
    """A patient whose transfer was undone, with the shares that began again, and those that did not."""

    patient: str
    owner: str
    receiver: str
    returned_shares: list[GrantBody]
    lost_shares: list[GrantBody]


class UndoneTransfersBody(BaseModel):
    """Several transfers that were undone in one batch."""

    batch: str
    items: list[UndoneTransferBody]


class OpenedEmergencyBody(BaseModel):
    """An emergency access that began: its number, its purpose, until when its review is due, and its grant."""

    emergency: str
    purpose: Literal["ETREAT", "TREAT", "BTG"]
    due_at: Instant
    grant: GrantBody


class EmergencyBody(BaseModel):
    """An emergency access, and its review; `until` is when the access ends or ended."""

    id: str
    patient: str
    practitioner: str
    grant: str
    purpose: Literal["ETREAT", "TREAT", "BTG"]
    reason: str
    started_at: Instant
    until: Instant
    ended_by: str | None
    due_at: Instant
    verdict: Literal["justified", "unjustified"] | None
    reviewer: str | None
    reviewed_at: Instant | None


class EmergenciesBody(BaseModel):
    """A page of the emergency accesses of a clinic, the newest first."""

    items: list[EmergencyBody]
    next: str | None


class StandingShareBody(BaseModel):
    """A share of all patients that the owner owns in a subscription, now and later."""

    id: str
    owner: str
    colleague: str
    login: str
    name: str
    subscription: str
    content: bool
    started_at: Instant
    until: Instant | None


class StandingSharesBody(BaseModel):
    """The standing shares that a practitioner gives or receives."""

    items: list[StandingShareBody]


class ColleagueBody(BaseModel):
    """A practitioner who may receive patients."""

    id: str
    login: str
    name: str


class ColleaguesBody(BaseModel):
    """The practitioners who may receive patients."""

    items: list[ColleagueBody]


class NotificationBody(BaseModel):
    """A notification to a practitioner of a change; what the practitioner did themselves is read already.

    The notifications of one request about several patients that differ in nothing else share a `batch`.
    """

    id: str
    at: Instant
    kind: str
    patient: str | None
    colleague: str
    actor: str
    read: bool
    batch: str | None
    grant: str | None
    standing_share: str | None
    until: Instant | None


class NotificationsBody(BaseModel):
    """A page of notifications, the newest first."""

    items: list[NotificationBody]
    next: str | None


class SubscriptionBody(BaseModel):
    """A subscription as it is stored."""

    id: str
    name: str
    live: bool
    time_zone: str


class PractitionerBody(BaseModel):
    """A practitioner as stored."""

    id: str
    login: str
    name: str


class MembershipBody(BaseModel):
    """A membership as it is stored."""

    practitioner: str
    subscription: str
    role: Literal["member", "manager", "auditor"]


class EntityBody(BaseModel):
    """An entity as it is stored."""

    type: str
    id: str
    properties: dict[str, object]


class EventBody(BaseModel):
    """A change; `docs/reference/events.md` lists the further members of each kind."""

    id: str
    at: Instant
    kind: str
    subscription: str | None
    patient: str | None
    actor: str | None
    client: str | None
    request_id: str | None


class EventsBody(BaseModel):
    """Events in the order in which they were committed; `next` is the `after` of the next call."""

    items: list[EventBody]
    next: str


class ReadinessBody(BaseModel):
    """The process can decide, change and record."""

    status: str
    policy_version: str


class HealthBody(BaseModel):
    """The process is alive."""

    status: str
