"""What tests share: the cast, worlds, servers, and readers of answers."""
