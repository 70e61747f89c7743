"""The gateway's own fixtures, for tests that attack it."""

from tests.integration.gateway.conftest import city, door, stage  # noqa: F401 - fixtures
