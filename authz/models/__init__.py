"""The tables: the facts that policies read, the callers, and the record.

Each fact is a row with a life ``[started_at, ended_at)``; ending a fact sets `ended_at`, and no row is deleted.
The models are bound to no database: a query takes the database that it runs on, so that one process may use several.
What the database enforces is declared here, and in the migrations if it takes a trigger.
"""

from peewee import Model

from authz.models.callers import Client, IdempotentResponse, KeptSelection, RequestCount, Secret
from authz.models.facts import (
    Emergency,
    Entity,
    EntityLink,
    EntityTarget,
    Grant,
    Licence,
    Membership,
    NoticePosition,
    Notification,
    Patient,
    Practitioner,
    Review,
    StandingShare,
    Subscription,
)
from authz.models.fields import Fact, InstantField, live_at
from authz.models.mail import Digest, Mail
from authz.models.record import (
    Checkpoint,
    ErasedField,
    Event,
    MerkleLeaf,
    MerkleNode,
    MerkleTree,
    PersonalSecret,
    PolicyText,
    RecordedDecision,
    Seal,
    SpoolPosition,
)

FACTS: tuple[type[Model], ...] = (
    Subscription,
    Licence,
    Practitioner,
    Membership,
    Patient,
    Grant,
    StandingShare,
)
"""The built-in types that a policy may name."""

PROOF: tuple[type[Model], ...] = (MerkleTree, MerkleLeaf, MerkleNode, Seal, Checkpoint, PersonalSecret, ErasedField)
"""The models of the proof of the record."""

MODELS: tuple[type[Model], ...] = (
    *FACTS,
    Entity,
    EntityLink,
    EntityTarget,
    Client,
    Event,
    RecordedDecision,
    Notification,
    NoticePosition,
    Digest,
    Mail,
    IdempotentResponse,
    RequestCount,
    KeptSelection,
    SpoolPosition,
    Secret,
    Review,
    Emergency,
    PolicyText,
    *PROOF,
)

__all__ = [
    "FACTS",
    "MODELS",
    "PROOF",
    "Checkpoint",
    "Client",
    "Digest",
    "Emergency",
    "Entity",
    "EntityLink",
    "EntityTarget",
    "ErasedField",
    "Event",
    "Fact",
    "Grant",
    "IdempotentResponse",
    "InstantField",
    "KeptSelection",
    "Licence",
    "Mail",
    "Membership",
    "MerkleLeaf",
    "MerkleNode",
    "MerkleTree",
    "NoticePosition",
    "Notification",
    "Patient",
    "PersonalSecret",
    "PolicyText",
    "Practitioner",
    "RecordedDecision",
    "RequestCount",
    "Review",
    "Seal",
    "Secret",
    "SpoolPosition",
    "StandingShare",
    "Subscription",
    "live_at",
]
