"""The parts of an audit question: its parameters, its result, its columns, and the ids that exist."""
