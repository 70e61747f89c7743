"""Locust users over the simulator's client."""
