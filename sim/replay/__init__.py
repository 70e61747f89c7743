"""Recorded traces through the public protocol, with an account of what became of every fix."""
