"""The record: what was answered and what was changed, append only. It holds ids, never names or clinical text."""

from authz.record.decisions import Asked, record_decisions, searched
from authz.record.events import KINDS, NOUNS, Act, Happened, append, changed, told, told_entity
from authz.record.feed import read_events
from authz.record.replay import Difference, replayed

__all__ = [
    "KINDS",
    "NOUNS",
    "Act",
    "Asked",
    "Difference",
    "Happened",
    "append",
    "changed",
    "read_events",
    "record_decisions",
    "replayed",
    "searched",
    "told",
    "told_entity",
]
