"""The audit of the record, for compliance staff and outsiders: ask, report, verify, prove, export."""
