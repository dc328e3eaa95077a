"""The lists of patients that the pages show: filtered, ordered, counted, by the number of a page.

Own patients are found by their grants and sorted if there are few. If there are many, they are read in the order of the
list, which an index keeps; those that are shared are found through the shares that members of the clinic hold. The
policy is asked in the same statement, so that a list counts what it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import merge
from itertools import islice
from typing import Literal

import orjson

from authz.database import database_connection
from authz.database.statements import in_condition
from authz.domain import FOREVER, Row, to_micros
from authz.models import Grant, live_at
from authz.policy.compiler import BY_NAME, ListQuery, row_exists
from authz.policy.pdp import PDP
from authz.policy.plan import Arguments
from authz.queries.owned_patients import own_clinics, owns_many
from authz.queries.patient_rows import patient_rows
from authz.queries.permission import record_search
from authz.record import Actor, RecordedQuestion, record_decisions
from authz.texts import search_words

MOST_COUNTED = 1000
"""Patients of a list are counted up to this number."""
MOST_PAGES = 200
"""The pages of a list that can be opened; a search finds the patients after them."""
SOON = timedelta(days=14)
"""A share that ends within this time ends soon."""

Role = Literal["owner", "viewer"]
Only = Literal["", "shared", "ending"]
Sort = Literal["name", "newest", "ending"]

_LIVE_GRANT = "held.role = 'owner' AND held.started_at <= {now} AND held.ended_at > {now}"
_OWN = f'"grant" AS held WHERE held.practitioner_id = {{subject}} AND {_LIVE_GRANT}'
_IS_OWN = row_exists(f"SELECT 1 FROM {_OWN} AND held.patient_id = listed.id")
_AMONG_FEW = f"listed.id IN (SELECT held.patient_id FROM {_OWN})"
_AMONG_MANY = f"listed.subscription_id = {{clinic}} AND {_IS_OWN}"
_IN_ORDER_OF_GRANTS = f"held.patient_id = listed.id AND held.practitioner_id = {{subject}} AND {_LIVE_GRANT}"
_LIVE_SHARE = "share.role = 'viewer' AND share.started_at <= {now} AND share.ended_at > {now}"
_SHARES = f'"grant" AS share WHERE share.patient_id = listed.id AND {_LIVE_SHARE}'
_AMONG_SHARED = f"""listed.id IN (SELECT share.patient_id FROM membership AS own
    JOIN membership AS colleague ON colleague.subscription_id = own.subscription_id
    JOIN "grant" AS share ON share.practitioner_id = colleague.practitioner_id
    WHERE own.practitioner_id = {{subject}} AND {_LIVE_SHARE}"""
_ENDS_SOON = " AND share.ended_at <= {soon}"
_RECEIVED = f"""listed.id IN (SELECT share.patient_id FROM "grant" AS share
    WHERE share.practitioner_id = {{subject}} AND {_LIVE_SHARE}{_ENDS_SOON})"""
_NEWEST = f"(SELECT MAX(held.started_at) FROM {_OWN} AND held.patient_id = listed.id) DESC, {BY_NAME}"
_NEWEST_GRANT = "held.started_at DESC, held.id DESC"
_FIRST_END = f"(SELECT MIN(share.ended_at) FROM {_SHARES}), {BY_NAME}"
_OWN_END = f"(SELECT MAX(share.ended_at) FROM {_SHARES} AND share.practitioner_id = {{subject}}), {BY_NAME}"


@dataclass(frozen=True)
class PatientList:
    """The patients of a list: the practitioner's own (``owner``), or those shared with the practitioner (``viewer``).

    `only` narrows own patients to those ``shared`` with others, or either list to the shares ``ending`` soon. `sort` is
    by ``name``, the ``newest`` own patients first, or the first share to end first (``ending``). Each word of `q`
    occurs in the name or the reference, or `q` is the id.
    """

    role: Role = "owner"
    only: Only = ""
    sort: Sort = "name"
    q: str = ""

    def orders(self) -> tuple[Sort, ...]:
        """Return the orders in which this list can be shown, the usual one first."""
        if self.only == "ending":
            return ("ending", "name")
        return ("name", "newest") if self.role == "owner" else ("name",)


@dataclass(frozen=True)
class PatientPage:
    """One page of a list: its rows as `patient_rows` has them, and how many patients the list has.

    `count` is at most one more than `MOST_COUNTED`, which then means that there are more. `has_next` tells whether a
    page follows.
    """

    rows: list[Row]
    count: int
    has_next: bool


def patient_page(pdp: PDP, actor: Actor, wanted: PatientList, number: int, size: int) -> PatientPage:
    """Return the page of a list with this number, the first is 1. The search is recorded."""
    begin = (number - 1) * size
    with database_connection(pdp.database):
        if begin + size <= MOST_COUNTED:
            ids = _matching(pdp, actor, wanted, MOST_COUNTED + 1)
            count, ids = len(ids), ids[begin : begin + size + 1]
        else:
            ids = _matching(pdp, actor, wanted, size + 1, begin)
            count = MOST_COUNTED + 1 if ids else 0
        rows = {row["id"]: row for row in patient_rows(pdp, actor, ids[:size], "view")}
        record_search(pdp, actor, "view", ("patient", ""), len(rows))
    return PatientPage([rows[patient] for patient in ids[:size] if patient in rows], count, len(ids) > size)


def matching_patients(pdp: PDP, actor: Actor, wanted: PatientList, most: int) -> list[str]:
    """Return the ids of the first `most` patients of a list, in its order. The search is recorded."""
    with database_connection(pdp.database):
        ids = _matching(pdp, actor, wanted, most)
        record_search(pdp, actor, "view", ("patient", ""), len(ids))
    return ids


def viewers_of(pdp: PDP, actor: Actor, patients: Sequence[str]) -> dict[str, list[Row]]:
    """Return the live shares of those of these patients whose access the practitioner may list, the first to end first.

    A share is a row with `practitioner` and `until`. Each decision is recorded.
    """
    subject = ("practitioner", actor.practitioner)
    questions = [RecordedQuestion(subject, "list_access", ("patient", patient)) for patient in patients]
    with database_connection(pdp.database):
        decisions = pdp.evaluate_many([(subject, "list_access", q.resource) for q in questions], now=actor.now)
        answers = list(zip(questions, decisions, strict=True))
        record_decisions(pdp.database, actor, answers)
        known: dict[str, list[Row]] = {question.resource[1]: [] for question, answer in answers if answer.allowed}
        shares = Grant.select().where(
            in_condition(pdp.database, Grant.patient, list(known)), Grant.role == "viewer", live_at(Grant, actor.now)
        )
        for row in shares.order_by(Grant.ended_at, Grant.id).dicts().execute(pdp.database):
            until = None if row["ended_at"] == FOREVER else row["ended_at"]
            known[row["patient"]].append({"practitioner": row["practitioner"], "until": until})
    return known


def _matching(pdp: PDP, actor: Actor, wanted: PatientList, limit: int, offset: int = 0) -> list[str]:
    """Return the ids of the patients of a list from a place on, in its order."""
    searched = search_words(wanted.q)
    if wanted.q.strip() and not searched:  # signs alone, none of which is in any key
        searched = [wanted.q.strip()]
    arguments: Arguments = {
        "words": orjson.dumps(searched).decode(),
        "text": wanted.q if searched else "",
        "soon": to_micros(actor.now + SOON),
    }

    def rows(query: ListQuery, limit: int, offset: int, clinic: str = "") -> list[tuple[str, str]]:
        values: Arguments = {**arguments, "limit": limit, "offset": offset, "clinic": clinic}
        subject = ("practitioner", actor.practitioner)
        return pdp.list_filtered(subject, "view", "patient", query, values, now=actor.now, tenant=actor.tenant)

    query = _query(wanted, wanted.role == "owner" and owns_many(pdp.database, actor))
    if query.among != _AMONG_MANY:
        return [patient for patient, _ in rows(query, limit, offset)]
    pages = [rows(query, offset + limit, 0, clinic) for clinic in own_clinics(pdp.database, actor)]
    listed = merge(*pages, key=lambda row: (row[1], row[0])) if len(pages) > 1 else iter(*pages or ([],))
    return [patient for patient, _ in islice(listed, offset, offset + limit)]


def _query(wanted: PatientList, many: bool) -> ListQuery:
    """Return the SQL of a list; `many` tells that the practitioner owns many patients."""
    ends = _ENDS_SOON if wanted.only == "ending" else ""
    if wanted.role == "viewer":
        order = _OWN_END if wanted.sort == "ending" else BY_NAME
        return (
            ListQuery(f"{_RECEIVED} AND NOT ({_IS_OWN})", order)
            if ends
            else ListQuery(f"NOT ({_IS_OWN})", role="viewer")
        )
    order = {"name": BY_NAME, "newest": _NEWEST, "ending": _FIRST_END}[wanted.sort]
    if not wanted.only and many:
        if wanted.sort == "newest":
            return ListQuery(_IN_ORDER_OF_GRANTS, _NEWEST_GRANT, tables='"grant" AS held, ')
        return ListQuery(_AMONG_MANY)
    if not wanted.only:
        return ListQuery(_AMONG_FEW, order)
    if many:
        return ListQuery(f"{_AMONG_SHARED}{ends}) AND {_IS_OWN}", order)
    return ListQuery(f"{_AMONG_FEW} AND {row_exists(f'SELECT 1 FROM {_SHARES}{ends}')}", order)
