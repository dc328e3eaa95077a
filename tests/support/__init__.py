"""The shared code of the tests: the cast, worlds, servers, and readers of answers."""
