"""The JSON forms of patients, grants, transfers and standing shares, as the models of `responses` describe them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from api.auth import pdp
from authz import operations
from authz.domain import FOREVER, Row, format_instant
from authz.queries import practitioner as practitioner_queries


def serialize_until(instant: datetime | None) -> str | None:
    """Return the end of a fact as RFC 3339, or None for a fact without an end."""
    return None if instant is None or instant == FOREVER else format_instant(instant)


def serialize_grants(rows: Sequence[Row], people: Mapping[str, Row] | None = None) -> list[Row]:
    """Return grants with the name and the login of each holder; `people` are the holders, if they are known."""
    people = people or practitioner_queries.people(pdp(), [row["practitioner"] for row in rows])
    return [
        {
            "id": str(row["id"]),
            "patient": row["patient"],
            "practitioner": row["practitioner"],
            "login": people[row["practitioner"]]["login"],
            "name": people[row["practitioner"]]["name"],
            "role": row["role"],
            "origin": row["origin"],
            "given_by": row["given_by"] or None,
            "reason": row["reason"],
            "started_at": format_instant(row["started_at"]),
            "until": serialize_until(row["ended_at"]),
        }
        for row in rows
    ]


def serialize_shares(shares: Sequence[operations.ShareResult]) -> list[Row]:
    """Return the grants of shares that all have the same viewer."""
    viewer = shares[0].viewer._asdict()
    return serialize_grants([share.grant for share in shares], {viewer["id"]: viewer})


def serialize_added_patient(added: operations.AddPatientResult) -> Row:
    """Return a patient who was added, with the owner's grant."""
    return {
        "id": added.patient,
        "name": added.name,
        "reference": added.reference or None,
        "subscription": added.subscription,
        "grant": str(added.grant),
    }


def serialize_transfer(transfer: operations.TransferResult) -> Row:
    """Return a transfer, with the shares that it kept."""
    return {
        "patient": transfer.patient,
        "owner": transfer.owner,
        "previous_owner": transfer.previous_owner,
        "kept_shares": serialize_grants(transfer.kept_shares),
        "undo_until": format_instant(transfer.grant["undo_until"]),
    }


def serialize_undone_transfer(undone: operations.UndoneTransfer) -> Row:
    """Return a transfer that was undone, with the shares that it had ended."""
    return {
        "patient": undone.patient,
        "owner": undone.owner,
        "receiver": undone.receiver,
        "returned_shares": serialize_grants(undone.returned_shares),
        "lost_shares": serialize_grants(undone.lost_shares),
    }


def serialize_standing_share(row: Row) -> Row:
    """Return a standing share, with the name and the login of the colleague."""
    people = practitioner_queries.people(pdp(), [row["owner"], row["colleague"]])
    return {
        "id": str(row["id"]),
        "owner": row["owner"],
        "colleague": row["colleague"],
        "login": people[row["colleague"]]["login"],
        "name": people[row["colleague"]]["name"],
        "subscription": row["subscription"],
        "content": bool(row["content"]),
        "started_at": format_instant(row["started_at"]),
        "until": serialize_until(row["ended_at"]),
    }
