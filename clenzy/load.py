"""`clenzy load`: a short load run of workers and customers through an installation of its own."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clenzy.demo import ADMIN, admin_password_file
from clenzy.installation import Installation
from clenzy.runner import Stop, run_attached
from config.settings import Settings


@dataclass(frozen=True, slots=True)
class Load:
    """One load run. `rest` goes to the load test as it is."""

    report: Path
    rest: Sequence[str]

    def arguments(self, api_url: str, email: str, password_file: Path) -> tuple[str, ...]:
        """Return the load test's module and arguments."""
        return (
            *("loadtests", "--api-url", api_url, "--admin-email", email),
            *("--password-file", str(password_file), "--report", str(self.report), *self.rest),
        )

    async def __call__(self, installation: Installation, stop: Stop) -> int:
        """Load `installation`, with the terminal as its own."""
        settings = installation.settings
        password = json.loads(installation.passwords_file.read_text())[ADMIN]
        argv = self.arguments(settings.api_url, ADMIN, admin_password_file(settings.state_dir, password))
        return await run_attached(argv, stop, {})


def load_settings(settings: Settings) -> Settings:
    """Return the settings of an installation of the run's own, in an empty folder."""
    folder = settings.state_dir / "load"
    shutil.rmtree(folder, ignore_errors=True)
    own = {"mode": "demo", "state_dir": folder, "database_url": None, "redis_url": None}
    return settings.model_copy(update=own)
