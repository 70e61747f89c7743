"""Settings from files, as containers hand over secrets."""

from pathlib import Path

import pytest

from config.settings import SECRETS_DIR, Settings


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    for name in ("CLENZY_PHONE_SECRET", "CLENZY_WEBHOOK_SECRET", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_file_holds_what_the_environment_does_not_say(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "CLENZY_PHONE_SECRET").write_text("from a file\n")
    (secrets / "CLENZY_WEBHOOK_SECRET").write_text("from a file")
    (secrets / "DATABASE_URL").write_text("postgresql://somewhere/db")
    monkeypatch.setenv("CLENZY_WEBHOOK_SECRET", "from the environment")
    settings = Settings()
    assert settings.phone_secret is not None
    assert settings.webhook_secret is not None
    assert settings.database_url is not None
    assert settings.phone_secret.get_secret_value() == "from a file"
    assert settings.webhook_secret.get_secret_value() == "from the environment"
    assert settings.database_url.get_secret_value() == "postgresql://somewhere/db"


def test_secrets_show_nowhere(secrets: Path) -> None:
    (secrets / "CLENZY_PHONE_SECRET").write_text("from a file")
    assert "from a file" not in repr(Settings())
