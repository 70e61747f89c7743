"""The command line: supervisor, embedded stores, doctor, demo."""
