"""Notices when those who should notice do not: peers watch each other, and somebody outside watches them all."""
