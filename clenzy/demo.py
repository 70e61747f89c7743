"""`clenzy demo`: everything on this machine, with a simulated city, and a short table of what to click."""

import asyncio
import json
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from clenzy.installation import Installation
from clenzy.runner import Stop
from clenzy.state import write_private

ADMIN = "admin@demo.clenzy.test"


@dataclass(frozen=True, slots=True)
class City:
    """The simulated city."""

    workers: int
    bookings_per_min: float
    alarms_per_hour: float
    seed: int


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demo does once everything is up. Without a city it only shows the pages."""

    city: City | None
    opens_browser: bool

    async def __call__(self, installation: Installation, stop: Stop) -> int:
        """Start the city, tell people where to look, and wait."""
        passwords: dict[str, str] = json.loads(installation.passwords_file.read_text())
        if self.city is not None:
            await installation.add("sim", *self._city_arguments(self.city, installation, passwords[ADMIN]))
        show(installation, passwords)
        if self.opens_browser and sys.stdout.isatty():
            await asyncio.to_thread(webbrowser.open, installation.settings.api_url)
        await stop.wait()
        return 0

    @staticmethod
    def _city_arguments(city: City, installation: Installation, password: str) -> tuple[str, ...]:
        folder = installation.settings.state_dir
        return (
            *("sim", "city", "--api-url", installation.settings.api_url, "--admin-email", ADMIN),
            *("--password-file", str(admin_password_file(folder, password))),
            *("--cache", str(folder / "sim" / "sign-ins.json")),
            *("--workers", str(city.workers), "--bookings-per-min", f"{city.bookings_per_min:g}"),
            *("--alarms-per-hour", f"{city.alarms_per_hour:g}", "--seed", str(city.seed)),
        )


def admin_password_file(folder: Path, password: str) -> Path:
    """Keep the admin's password for the simulator, which reads a file: a command line is everybody's to read."""
    path = folder / "secrets" / "simulator_admin_password.txt"
    write_private(path, password)
    return path


def show(installation: Installation, passwords: dict[str, str]) -> None:
    """Print pages, sign-ins and what to try first."""
    url = installation.settings.api_url
    pages = Table(title="Clenzy is up", title_style="bold green", title_justify="left", show_edge=False, pad_edge=False)
    for heading in ("page", "address", "sign in as", "password"):
        pages.add_column(heading, no_wrap=True)
    rows = (
        ("console", f"{url}/", "dispatcher@demo.clenzy.test"),
        ("worker app", f"{url}/worker/", "worker@demo.clenzy.test"),
        ("customer app", f"{url}/customer/", "customer@demo.clenzy.test"),
        ("API", f"{url}/docs", ADMIN),
    )
    for name, address, account in rows:
        pages.add_row(name, escape(address), account, escape(passwords[account]))
    installation.screen.table(pages)
    for line in (
        "",
        "Try first: sign in to the console and watch the workers move. In a second window sign in as the customer,",
        "book a cleaning and follow it on both screens. Then press the silent alarm there and acknowledge it on the",
        "console.",
        "",
        f"E-mail notices land in {installation.mail_folder}, logs in {installation.log.path}.",
        "Ctrl-C stops everything; the data stays for the next start.",
    ):
        installation.screen.say(line)
