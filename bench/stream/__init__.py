"""The gateway beside what people would take instead; one module a group of rows, listed in `parts.py`."""
