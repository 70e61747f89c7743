"""The matcher beside its anchors: scoring, assignment, dispatch quality."""
