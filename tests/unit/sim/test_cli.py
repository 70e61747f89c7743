"""The commands: what they write, and with what reason they fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def sim(*argv: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sim", *argv], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )


def test_streets_are_geojson(tmp_path: Path) -> None:
    file = tmp_path / "streets.json"
    done = sim("streets", "--lat", "52.5", "--lng", "13.4", "--output", str(file))
    assert done.returncode == 0, done.stderr
    collection = json.loads(file.read_text())
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) > 1_000


def test_a_city_without_a_server_ends_with_a_reason(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    done = sim("city", "--api-url", "http://127.0.0.1:9", "--admin-email", "a@b", "--password-file", str(password))
    assert done.returncode == 1
    assert "sign-in" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "reason"), [("lat,lng\n1,2\n", "no column for ts"), ("", "no column"), ("lat,lng,ts\n", "no fix")]
)
def test_a_replay_of_nothing_ends_with_a_reason(tmp_path: Path, content: str, reason: str) -> None:
    file, password = tmp_path / "trace.csv", tmp_path / "password"
    file.write_text(content)
    password.write_text("secret")
    done = sim("replay", str(file), "--admin-email", "a@b", "--password-file", str(password))
    assert done.returncode == 1
    assert reason in done.stderr


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    done = sim("city", "--admin-email", "a@b", "--password-file", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "password" in done.stderr


def test_verify_without_redis_ends_with_a_reason() -> None:
    done = sim("verify", "--redis-url", "redis://127.0.0.1:9")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
