"""`python -m tests.acceptance.drops --drops 10000`: the long run."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.acceptance.drops.run import Outcome, Plan, describe, run
from tests.conftest import TokenKeys
from tests.servers import TEMPLATE, Servers, create_database, named


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--drops", type=int, default=10_000)
    options.add_argument("--clients", type=int, default=80)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--seconds-max", type=float, default=600)
    chosen = options.parse_args()
    plan = Plan(
        drops=chosen.drops,
        clients=chosen.clients,
        mean_life_s=1.0,
        events_per_s=60,
        gateway_kills=6,
        relay_kills=4,
        redis_restarts=2,
        seed=chosen.seed,
        seconds_max=chosen.seconds_max,
    )
    servers = Servers()
    try:
        outcome = asyncio.run(_run(plan, servers))
    finally:
        servers.close()
    sys.stdout.write(describe(outcome) + "\n")
    return 1 if outcome.verdict.faults else 0


async def _run(plan: Plan, servers: Servers) -> Outcome:
    url = named(servers.database_url, "drops")
    create_database(servers.database_url, "drops", template=TEMPLATE)
    key = Ed25519PrivateKey.generate()
    keys = TokenKeys(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
    with tempfile.TemporaryDirectory(prefix="clenzy-drops-") as folder:
        async with asyncpg.create_pool(url, min_size=1, max_size=8) as pool:
            outcome = await run(plan, pool, url, keys, Path(folder))
        if outcome.verdict.faults:
            sys.stdout.write((Path(folder) / "parts.log").read_text())
        return outcome


if __name__ == "__main__":
    sys.exit(main())
