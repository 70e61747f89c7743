"""Events that commit with the change they tell of, and the relay that carries them to Redis."""
