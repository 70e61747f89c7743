"""The fixtures of SafeTap's door, for tests that attack it."""

from tests.integration.safetap.conftest import door, tokens, world  # noqa: F401 - fixtures
