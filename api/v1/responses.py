"""What is answered, as models: the OpenAPI document is made from them, and tests hold the answers to it."""

from typing import Any, Literal

from pydantic import BaseModel

Instant = str


class FieldError(BaseModel):
    """What is wrong with a member of the request: a JSON pointer (RFC 6901) and why."""

    pointer: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


class Decision(BaseModel):
    """A decision (AuthZEN 5.5); `docs/http.md` tells what its context holds."""

    decision: bool
    context: dict[str, Any]


class Decisions(BaseModel):
    """Decisions in the order of the request (AuthZEN 7.2)."""

    evaluations: list[Decision]


class EitherDecisions(BaseModel):
    """Decisions in the order of the request; without `evaluations` in the request, one decision."""

    decision: bool | None = None
    context: dict[str, Any] | None = None
    evaluations: list[Decision] | None = None


class PageInfo(BaseModel):
    """Where a page stands (AuthZEN 8.2.2): an empty token says that there is no more."""

    next_token: str
    count: int


class Found(BaseModel):
    """A subject or a resource that was found."""

    type: str
    id: str


class FoundAction(BaseModel):
    """An action that was found."""

    name: str


class FoundEntities(BaseModel):
    """A page of subjects or resources (AuthZEN 8.3)."""

    page: PageInfo
    results: list[Found]


class FoundActions(BaseModel):
    """A page of actions (AuthZEN 8.3)."""

    page: PageInfo
    results: list[FoundAction]


class Metadata(BaseModel):
    """The AuthZEN metadata (9.1)."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str
    signed_metadata: str | None = None


class Clinic(BaseModel):
    """A membership."""

    subscription: str
    name: str
    role: Literal["member", "manager", "auditor"]


class Me(BaseModel):
    """A practitioner."""

    id: str
    login: str
    name: str
    memberships: list[Clinic]


class PatientItem(BaseModel):
    """A patient, as one who views or may hand them over sees them."""

    id: str
    name: str
    reference: str | None
    role: Literal["owner", "viewer", "manager"]
    owner: str
    until: Instant | None


class Patients(BaseModel):
    """A page of patients."""

    items: list[PatientItem]
    next: str | None


class PatientDetail(PatientItem):
    """A patient, with what one may do."""

    actions: list[str]


class EditedPatient(BaseModel):
    """A patient as they are called from now on."""

    id: str
    name: str
    reference: str | None
    subscription: str


class NewlyAdded(BaseModel):
    """A patient who was added."""

    id: str
    name: str
    reference: str | None
    subscription: str
    grant: str


class Grant(BaseModel):
    """Who has access to a patient, since when and until when."""

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


class Grants(BaseModel):
    """The live grants of a patient, the owner's first."""

    items: list[Grant]


class BatchOfShares(BaseModel):
    """Several shares, made at once."""

    batch: str
    items: list[Grant]


class Transferred(BaseModel):
    """A patient who was transferred."""

    patient: str
    owner: str
    previous_owner: str
    kept_shares: list[Grant]


class BatchOfTransfers(BaseModel):
    """Several transfers, made at once."""

    batch: str
    items: list[Transferred]


class StandingShare(BaseModel):
    """Everything that the owner owns in a subscription, shared."""

    id: str
    owner: str
    colleague: str
    login: str
    name: str
    subscription: str
    content: bool
    started_at: Instant
    until: Instant | None


class StandingShares(BaseModel):
    """Those that one gave or was given."""

    items: list[StandingShare]


class Colleague(BaseModel):
    """Somebody who may receive."""

    id: str
    login: str
    name: str


class Colleagues(BaseModel):
    """Those who may receive."""

    items: list[Colleague]


class Notice(BaseModel):
    """What a practitioner is told."""

    id: str
    at: Instant
    kind: str
    patient: str | None
    colleague: str
    actor: str
    read: bool


class Notices(BaseModel):
    """A page of notices, the newest first."""

    items: list[Notice]
    next: str | None


class Subscription(BaseModel):
    """A subscription as it is."""

    id: str
    name: str
    live: bool


class Practitioner(BaseModel):
    """A practitioner as they are."""

    id: str
    login: str
    name: str


class Membership(BaseModel):
    """A membership as it is."""

    practitioner: str
    subscription: str
    role: Literal["member", "manager", "auditor"]


class StoredEntity(BaseModel):
    """An entity as it is."""

    type: str
    id: str
    properties: dict[str, Any]


class Event(BaseModel):
    """A change; `docs/events.md` tells what else it holds."""

    id: str
    at: Instant
    kind: str
    subscription: str | None
    patient: str | None
    actor: str | None
    client: str | None
    request_id: str | None


class Events(BaseModel):
    """Events in the order in which they were committed; `next` is the `after` of the next call."""

    items: list[Event]
    next: str


class Ready(BaseModel):
    """The service can answer."""

    status: str
    policy_version: str


class Alive(BaseModel):
    """The process is alive."""

    status: str
