"""What compliance staff and outsiders do with the record: ask, report, verify, prove, export."""
