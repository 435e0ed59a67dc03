"""Takes the systems' events from outside: proves each delivery, writes it down, and only then answers."""
