"""What a question of the audit is: its parameters, its columns, the ids that it knows."""
