"""The lines of an import, and their import."""

import io
import json
from datetime import timedelta
from typing import Any

from authz.database import Database
from authz.domain import format_instant
from authz.importing import ImportReport, import_facts
from tests.support.acting import POLICY
from tests.support.people import NOW

BEFORE = format_instant(NOW - timedelta(days=400))


SINCE = format_instant(NOW - timedelta(days=100))


LATER = format_instant(NOW + timedelta(days=100))


CLINIC: list[Any] = [
    {"subscription": {"id": "north", "name": "North Clinic", "started_at": BEFORE}},
    {"subscription": {"id": "city", "name": "City Clinic"}},
    {"practitioner": {"id": "alice", "login": "Alice@North.Example", "name": "Alice A."}},
    {"practitioner": {"id": "bob", "login": "bob@north.example", "name": "أميرة الخطيب 🌿"}},
    {"practitioner": {"id": "frank", "login": "frank@city.example", "name": "נועה"}},
    {"membership": {"practitioner": "alice", "subscription": "north", "role": "member", "started_at": BEFORE}},
    {"membership": {"practitioner": "bob", "subscription": "north", "role": "member", "started_at": BEFORE}},
    {"membership": {"practitioner": "frank", "subscription": "city", "role": "member"}},
    {"patient": {"id": "p-1", "subscription": "north", "name": "Pat One", "owner": "alice", "started_at": BEFORE}},
    {"grant": {"patient": "p-1", "practitioner": "bob", "role": "viewer", "until": LATER, "reason": "cover"}},
    {"standing_share": {"owner": "alice", "colleague": "bob", "subscription": "north", "content": True}},
    {"entity": {"type": "document", "id": "d-1", "properties": {"patient": "p-1", "author": "alice", "title": "Knee"}}},
]


def import_lines(database: Database, *lines: Any, later: int = 0) -> ImportReport:
    """Import lines, each an object or raw bytes, some minutes after NOW."""
    text = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return import_facts(database, io.BytesIO(text), POLICY.types, now=NOW + timedelta(minutes=later))


def line(kind: str, **fields: Any) -> Any:
    return {kind: fields}
