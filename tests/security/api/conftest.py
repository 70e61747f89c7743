"""The API's own fixtures, for tests that attack it; it signs for buttons and receivers, too."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from config.settings import Settings
from tests.integration.api.conftest import (  # noqa: F401 - fixtures
    access_tokens,
    admin,
    api,
    cast,
    customer,
    dispatcher,
    eta,
    services,
    worker,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        mode="demo",
        state_dir=tmp_path,
        safetap_public_url="http://127.0.0.1:1",  # nobody listens there
        webhook_secret=SecretStr("a master secret of 32 characters or more"),
    )
