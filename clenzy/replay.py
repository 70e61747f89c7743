"""`clenzy replay`: drives a recorded trace through a running installation, or through one of its own."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clenzy.demo import ADMIN, admin_password_file
from clenzy.installation import Installation
from clenzy.runner import Stop, run_attached
from config.settings import Settings


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay. `rest` goes to the simulator as it is."""

    file: Path
    speed: float
    report: Path
    rest: Sequence[str]

    def arguments(self, api_url: str, email: str, passwords: Path) -> tuple[str, ...]:
        """Return the simulator's module and arguments."""
        return (
            *("sim", "replay", str(self.file), "--api-url", api_url, "--admin-email", email),
            *("--password-file", str(passwords), "--speed", str(self.speed), "--report", str(self.report), *self.rest),
        )

    async def __call__(self, installation: Installation, stop: Stop) -> int:
        """Replay against `installation`, with the terminal as its own."""
        settings = installation.settings
        password = json.loads(installation.passwords_file.read_text())[ADMIN]
        argv = self.arguments(settings.api_url, ADMIN, admin_password_file(settings.state_dir, password))
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else ""
        return await run_attached(argv, stop, {"REDIS_URL": redis_url})


def replay_settings(settings: Settings, replay: Replay) -> Settings:
    """Return the settings of an installation of the replay's own: an empty folder, the time of fixes sped up."""
    folder = settings.state_dir / "replay"
    shutil.rmtree(folder, ignore_errors=True)
    return settings.model_copy(
        update={
            "mode": "demo",
            "state_dir": folder,
            "database_url": None,
            "redis_url": None,
            "fix_clock_scale": replay.speed,
            "fix_clock_epoch_ms": time.time_ns() // 1_000_000,
        }
    )
