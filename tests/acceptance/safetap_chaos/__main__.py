"""`make chaos ARGS=--long`: kills without end while people call for help; exits 1 when a promise was broken."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.acceptance.safetap_chaos.report import describe
from tests.acceptance.safetap_chaos.run import Plan, run
from tests.conftest import TokenKeys


def main() -> int:
    options = argparse.ArgumentParser(prog="safetap_chaos", description=__doc__)
    options.add_argument("--kills", type=int, default=500, help="at least so many (default: %(default)s)")
    options.add_argument("--triggers", type=int, default=100_000, help="at least so many (default: %(default)s)")
    options.add_argument("--per-s", type=float, default=80, help="triggers a second (default: %(default)s)")
    options.add_argument("--people", type=int, default=1_000)
    options.add_argument("--seed", type=int, default=random.randrange(2**32), help="of everything drawn (default: new)")
    options.add_argument("--minutes-max", type=float, default=45, help="give up then (default: %(default)s)")
    options.add_argument("--keep", type=Path, help="folder for the processes' log")
    chosen = options.parse_args()
    plan = Plan(
        kills=chosen.kills,
        triggers=chosen.triggers,
        per_s=chosen.per_s,
        people=chosen.people,
        on_sockets=8,
        is_whole=True,
        gap_s=(1.0, 4.0),
        seed=chosen.seed,
        minutes_max=chosen.minutes_max,
    )
    key = Ed25519PrivateKey.generate()
    keys = TokenKeys(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clenzy-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the stores' account must come through
        say(f"seed {plan.seed}")
        try:
            outcome = uvloop.run(run(plan, keys, folder, say))
            say(describe(outcome))
        finally:
            if chosen.keep is not None and (folder / "processes.log").exists():
                (chosen.keep / "chaos-processes.log").write_bytes((folder / "processes.log").read_bytes())
    return 1 if outcome.faults else 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
