"""The patients whose owner somebody is, in the order of a list. The caller asks whether they may view them.

If they own few, the patients are found by their grants and sorted. If they own many, a page is read in the order of
names in each clinic where they have worked, which an index keeps: no grant crosses clinics, and nobody owns a patient
of a clinic where they never worked.
"""

from heapq import merge
from itertools import islice

from authz.database import Database
from authz.database.statements import run
from authz.domain import to_micros
from authz.models import Membership
from authz.policy.compiler import SORT_KEY, Parameter, page_sql
from authz.policy.plan import PagePosition
from authz.record import Actor

PatientKey = tuple[str, str]
_FEW = 1000
_HELD = """"grant" AS held WHERE held.practitioner_id = {} AND held.role = 'owner'
    AND held.started_at <= {} AND held.ended_at > {}"""
_AMONG = f"SELECT listed.id, {SORT_KEY} FROM patient AS listed WHERE listed.subscription_id = {{}}"
_BY_GRANTS = f"{_AMONG} AND listed.id IN (SELECT held.patient_id FROM {_HELD})"
_BY_NAMES = f"{_AMONG} AND EXISTS (SELECT 1 FROM {_HELD} AND held.patient_id = listed.id)"


def owned_patients(database: Database, actor: Actor, place: PagePosition) -> list[PatientKey]:
    """Return the ids with the sort keys, from a place in the list."""
    sql = _BY_NAMES if place.by_name and owns_many(database, actor) else _BY_GRANTS
    pages = [_page(database, sql, (clinic, *_values(actor)), place) for clinic in own_clinics(database, actor)]
    order = (lambda row: (row[1], row[0])) if place.by_name else (lambda row: row)
    return list(islice(merge(*pages, key=order), place.limit))


def owns_many(database: Database, actor: Actor) -> bool:
    """Return whether the practitioner owns more patients than one sorts for each page."""
    counted = run(
        database, f"SELECT COUNT(*) FROM (SELECT 1 FROM {_HELD} LIMIT {_FEW + 1}) AS counted", *_values(actor)
    )
    ((count,),) = counted.fetchall()
    return int(count) > _FEW


def own_clinics(database: Database, actor: Actor) -> list[str]:
    """Return the clinics where the practitioner has worked, as far as the app's key reaches."""
    worked = Membership.select(Membership.subscription).where(Membership.practitioner == actor.practitioner).distinct()
    return sorted(name for (name,) in worked.tuples().execute(database) if actor.tenant in (None, name))


def _values(actor: Actor) -> tuple[object, ...]:
    now = to_micros(actor.now)
    return actor.practitioner, now, now


def _page(database: Database, sql: str, values: tuple[object, ...], place: PagePosition) -> list[PatientKey]:
    """Return the next ids and sort keys of one clinic."""
    arguments, place_values = list(values), dict(place.values())

    def placeholder(parameter: Parameter) -> str:
        arguments.append(place_values[parameter.name[0]])
        return "{}"

    order = page_sql(placeholder, by_name=place.by_name, dialect=database.dialect)
    return [(patient, sort_key) for patient, sort_key in run(database, f"{sql} AND {order}", *arguments).fetchall()]
