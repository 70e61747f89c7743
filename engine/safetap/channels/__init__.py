"""The ways a notice leaves the house: the only modules of the engine that call out."""
