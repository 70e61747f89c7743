"""SafeTap's own port and Unix socket, and the process that runs intake and escalation."""
