"""Line 20: secrets come from the environment or a file, and none is in the repository; without them nothing starts."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from clenzy import state
from config.settings import Settings
from engine.core.errors import NotSignedIn
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.vocabulary import Role
from engine.people.seed import DEMO_ORG_ID, DEMO_REGION_ID
from engine.wiring import open_access_tokens
from safetap_door.__main__ import open_tokens

ROOT = Path(__file__).parents[2]
OURS = ("api_rest", "clenzy", "config", "console/src", "deploy", "engine", "gateway_ws", "migrations", "ops",
        "safetap_door", "sim")  # fmt: skip

ANYWHERE = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*\n[A-Za-z0-9+/=\s]{40,}",
    "a key of a cloud": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of a forge or a chat": r"\b(gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-[A-Za-z0-9-]{10,}|glpat-[\w-]{20})\b",
    "a token of a person": r"\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "a signing secret": r"\bwhsec_[A-Za-z0-9+/]{24,}={0,2}",
    "a URL with a password": r"\b(postgres(ql)?|rediss?|smtps?|https?)://[^\s:/@'\"{}<]*:(?!password|secret|\*)[^\s:/@'\"{}<]{3,}@",
}
IN_OURS = {"a password": r"(?i)\b(password|secret|api_key|token)\w*\s*[:=]\s*[\"'][^\"'\s{}]{8,}[\"']\s*(,|$|\))"}
NAMES = re.compile(r"""["'](clenzy|[a-z_.]+|[A-Z_]+|[a-z-]+|\S*\$\{?\S*|\S*/\S*)["']""")
"""Values that name something: a field, a header, a file."""


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name.decode() for name in listed.split(b"\0") if name and (ROOT / name.decode()).is_file()]


def hits(patterns: dict[str, str], files: list[Path]) -> list[str]:
    found = []
    for file in files:
        text = file.read_bytes().decode(errors="ignore")
        for what, pattern in patterns.items():
            for hit in re.finditer(pattern, text, re.MULTILINE):
                named = (str(file.relative_to(ROOT)), what, hit.group()[:60])
                found += [named] if patterns is ANYWHERE or not NAMES.search(hit.group()) else []
    return [": ".join(named) for named in found]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout: nothing tells what is published")
    return tracked()


def test_line_20_no_secret_is_in_the_repository(files: list[Path]) -> None:
    texts = [file for file in files if file.suffix not in (".png", ".woff2", ".lock")]
    # A test may sign in at a server of its own, which is gone when it ends.
    found = [hit for hit in hits(ANYWHERE, texts) if not (hit.startswith("tests/") and "a URL with" in hit)]
    assert found == []
    ours = [file for file in texts if str(file.relative_to(ROOT)).startswith(OURS)]
    assert len(ours) > 200
    assert hits(IN_OURS, ours) == []


def test_line_20_the_search_would_find_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "planted.py"
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    key = "-----BEGIN " + "PRIVATE KEY-----\n" + "MC4CAQAwBQYDK2VwBCIEIABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno\n"
    for text, patterns in (
        (key, ANYWHERE),
        ("AKIA" + "A" * 16, ANYWHERE),
        ("DATABASE_URL=postgres://clenzy:" + "hunter22@db/clenzy", ANYWHERE),
        ('PASSWORD = "' + 'Hunter2Hunter2"', IN_OURS),
    ):
        planted.write_text(text)
        assert len(hits(patterns, [planted])) == 1, text[:20]


def test_line_20_files_that_hold_secrets_are_never_published(files: list[Path]) -> None:
    kept_out = re.compile(r"(^|/)(\.env|id_[a-z0-9]+|.*\.(pem|key|p12|pfx)|demo_passwords\.json)$")
    assert [str(file) for file in files if kept_out.search(str(file.relative_to(ROOT)))] == []


def test_line_20_no_secret_has_a_default_and_none_shows_where_settings_are_printed() -> None:
    secrets = {name: field for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert {"database_url", "redis_url", "webhook_secret", "phone_secret", "smtp_url"} <= set(secrets)
    assert {name: field.default for name, field in secrets.items()} == dict.fromkeys(secrets)
    files = [name for name in Settings.model_fields if name.endswith(("key_file", "credentials_file"))]
    assert {name: Settings.model_fields[name].default for name in files} == dict.fromkeys(files)
    said = Settings(webhook_secret=SecretStr("hunter2"), database_url=SecretStr("postgres://a:hunter2@b/c"))
    assert "hunter2" not in repr(said) + str(said) + said.model_dump_json()


async def test_line_20_without_its_secrets_no_process_starts_and_each_says_what_is_missing(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "CLENZY_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    async def end_of(module: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, cwd=tmp_path, env=environment, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(55):
            _, said = await process.communicate()
        return process.returncode, said.decode()

    modules = ("api_rest", "safetap_door", "gateway_ws")
    for module, (code, said) in zip(modules, await asyncio.gather(*map(end_of, modules)), strict=True):
        assert code == 1, (module, said)
        assert re.search(r"(CLENZY_JWT_PUBLIC_KEY_FILE|DATABASE_URL|REDIS_URL) is not set", said), (module, said)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return {"jwt_private_key_file": private, "jwt_public_key_file": public}


def claims(org_id: OrgId) -> dict[str, object]:
    return {"person_id": PersonId(uuid4()), "role": Role.ADMIN, "org_id": org_id, "slot": None, "now_ms": 1,
            "region_id": RegionId(DEMO_REGION_ID), "session_id": uuid4()}  # fmt: skip


def test_line_20_nobody_of_the_demo_is_let_in_where_there_is_none(keys: dict[str, Path]) -> None:
    """Of a database that was a demo's: neither by the passwords that lie beside it nor by a token from then."""
    demo, production = (Settings(mode=mode, **keys) for mode in ("demo", "production"))
    token = open_access_tokens(demo).issue(**claims(DEMO_ORG_ID))
    assert open_access_tokens(demo).verify(token, 1).role is Role.ADMIN
    assert open_tokens(demo).verify(token, 1).role is Role.ADMIN
    for tokens in (open_access_tokens(production), open_tokens(production)):
        with pytest.raises(NotSignedIn):
            tokens.verify(token, 1, allow_expired=True)
    with pytest.raises(NotSignedIn):
        open_access_tokens(production).issue(**claims(DEMO_ORG_ID))
    real = open_access_tokens(production).issue(**claims(OrgId(uuid4())))
    assert open_tokens(production).verify(real, 1).role is Role.ADMIN


def test_line_20_the_demos_passwords_differ_from_one_installation_to_the_next(tmp_path: Path) -> None:
    texts = [state.demo_passwords(tmp_path / name).read_text() for name in ("one", "two")]
    assert texts[0] != texts[1]
    for name in ("one", "two"):
        assert state.demo_passwords(tmp_path / name).stat().st_mode & 0o077 == 0
