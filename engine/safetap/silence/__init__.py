"""The watch over people on jobs: silence is a signal. It asks first, then climbs the ladder of every other alarm."""
