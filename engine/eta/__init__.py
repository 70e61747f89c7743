"""How long until a worker is there."""
