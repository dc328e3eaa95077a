"""What a question of the audit is: its parameters, its result, its columns, and the ids that exist."""
