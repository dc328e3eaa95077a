"""The record: what was answered, append only. It holds ids, never names or clinical text."""

from authz.record.decisions import Asked, record_decision

__all__ = ["Asked", "record_decision"]
