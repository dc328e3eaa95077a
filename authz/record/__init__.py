"""The record: what was answered and what was changed, append only. It holds ids, never names or clinical text."""

from authz.record.change_feed import read_events
from authz.record.decision_log import MODES, DecisionLog, Waiting, keep_log, log_of
from authz.record.decision_rows import Asked, record_decisions, searched
from authz.record.events import KINDS, Actor, NewEvent, append
from authz.record.facts import NOUNS, changed, told, told_entity
from authz.record.partitions import make_partitions
from authz.record.policies import keep_policy, policies_served, policy_loaded
from authz.record.replay import Difference, replayed
from authz.record.sealing import seal
from authz.record.spool import count_waiting, take_in

__all__ = [
    "KINDS",
    "MODES",
    "NOUNS",
    "Actor",
    "Asked",
    "DecisionLog",
    "Difference",
    "NewEvent",
    "Waiting",
    "append",
    "changed",
    "count_waiting",
    "keep_log",
    "keep_policy",
    "log_of",
    "make_partitions",
    "policies_served",
    "policy_loaded",
    "read_events",
    "record_decisions",
    "replayed",
    "seal",
    "searched",
    "take_in",
    "told",
    "told_entity",
]
