"""A booking's life cycle and its store."""
