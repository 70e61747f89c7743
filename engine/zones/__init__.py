"""Zones as an organisation keeps them, and the watch that tells who enters, leaves and stays."""
