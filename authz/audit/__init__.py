"""What compliance staff and outsiders do with the record: verify it, prove from it, carry it out."""
