"""The record of all answers and all changes. Rows are only added; they hold ids, never names or clinical text."""

from authz.record.change_feed import read_events
from authz.record.decision_log import MODES, DecisionLog, PendingRows, get_decision_log, set_decision_log
from authz.record.decision_rows import RecordedQuestion, record_decisions, search_decision
from authz.record.events import KINDS, Actor, NewEvent, append
from authz.record.facts import NOUNS, fact_change, serialize_entity, serialize_fact
from authz.record.partitions import create_partitions
from authz.record.policies import keep_policy, list_served_policies, record_policy_loaded
from authz.record.replay import Difference, replay_facts
from authz.record.sealing import seal
from authz.record.spool import drain_or_count, drain_spool

__all__ = [
    "KINDS",
    "MODES",
    "NOUNS",
    "Actor",
    "DecisionLog",
    "Difference",
    "NewEvent",
    "PendingRows",
    "RecordedQuestion",
    "append",
    "create_partitions",
    "drain_or_count",
    "drain_spool",
    "fact_change",
    "get_decision_log",
    "keep_policy",
    "list_served_policies",
    "read_events",
    "record_decisions",
    "record_policy_loaded",
    "replay_facts",
    "seal",
    "search_decision",
    "serialize_entity",
    "serialize_fact",
    "set_decision_log",
]
