"""Part of the assignment in a window."""
