"""`clenzy demo` with a small city, as a newcomer starts it, in processes of its own; and its REST door."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from config.jurisdictions import FOLDER

OUT_AT_SEA = {"latitude": 41.21, "longitude": -8.9}
"""Beyond the reach of the simulated workers: what is booked here is for the worker's page of a test. All tests use this
one place, because the demo's worker cannot jump."""

CONSENT_BASIS = "clause 9 of both contracts"

START_TIMEOUT_S = 200
STOP_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 30


@dataclass
class DemoCity:
    """A running demo: where its pages are and who may sign in."""

    state_dir: Path
    process: "subprocess.Popen[bytes]"
    output: Path
    url: str = ""
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Of each that has signed in, and until when it is used."""

    def password(self, who: str) -> str:
        passwords: dict[str, str] = json.loads((self.state_dir / "secrets" / "demo_passwords.json").read_text())
        return passwords[email_of(who)]

    def call(self, who: str, method: str, path: str, body: object = None) -> Any:
        """One REST request as `worker`, `customer`, `dispatcher` or `admin`."""
        return send(self.url + path, method, body, token=self.token(who))

    def token(self, who: str) -> str:
        """Return an access token that lasts a while longer: the tests together may take longer than one is good for."""
        token, until_s = self._tokens.get(who, ("", 0.0))
        if time.monotonic() < until_s:
            return token
        credentials = {"email": email_of(who), "password": self.password(who)}
        signed_in = send(f"{self.url}/v1/auth/sign-in", "POST", credentials)
        self._tokens[who] = signed_in["access_token"], time.monotonic() + signed_in["expires_in_s"] / 2
        return str(signed_in["access_token"])

    def wait_ready(self) -> None:
        """Wait for the table that a start ends with, then for the API."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            said = self.output.read_text(errors="replace")
            assert self.process.poll() is None, f"the demo ended: {said[-3000:]}"
            assert time.monotonic() < deadline, f"not up in {START_TIMEOUT_S} s: {said[-3000:]}"
            if (found := re.search(r"(https?://[\w.]+:\d+)/worker/", said)) is not None:
                self.url = found[1]
                return
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_TIMEOUT_S)


def start_city(state_dir: Path, *, workers: int, bookings_per_min: int) -> DemoCity:
    """Start the demo, in a Portugal that lets sound be recorded with everybody's consent; return at once.

    Nobody in it calls for help but the tests: an alarm of the city's own, minutes after its start, would stand among
    those that a test counts.
    """
    output = state_dir.with_suffix(".log")
    jurisdictions = state_dir.with_suffix(".law")
    jurisdictions.mkdir()
    agreed = f'enabled = true\nconsent_basis = "{CONSENT_BASIS}"'
    (jurisdictions / "PT.toml").write_text((FOLDER / "PT.toml").read_text().replace("enabled = false", agreed))
    size = ("--workers", str(workers), "--bookings-per-min", str(bookings_per_min))
    with output.open("wb") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "clenzy",
                "demo",
                "--no-open",
                "--state-dir",
                str(state_dir),
                *size,
                "--alarms-per-hour",
                "0",
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # The table with the addresses must not be folded.
            env={**os.environ, "COLUMNS": "160", "CLENZY_JURISDICTIONS_DIR": str(jurisdictions)},
        )
    return DemoCity(state_dir, process, output)


def email_of(who: str) -> str:
    return f"{who}@demo.clenzy.test"


def send(url: str, method: str, body: object = None, *, token: str | None = None) -> Any:
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
            return json.load(response) if response.status != HTTPStatus.NO_CONTENT else None
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.code} {error.read()[:500]!r}") from error
