"""The cost policy's file, read when a process starts and again when it changes.

A file that is wrong never stops dispatch: the policy that was good stays in force, and the log, a metric and
`clenzy doctor` say so. Only at the start there is none to keep: then the built-in policy is used, which is the shipped
file's.
"""

import tomllib
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, Info

from config.limits import COST_POLICY_BYTES_MAX, POLICY_CHECK_MS
from engine.core.clock import Clock
from engine.matcher.cost_policy import DEFAULT_POLICY, CostPolicy, PolicyError, parse_policy, policy_text

log = structlog.get_logger(__name__)

SHIPPED: Final = Path(__file__).parents[2] / "config" / "matching" / "standard.toml"

IN_FORCE = Info("clenzy_cost_policy", "The cost policy in force.")
IS_WRONG = Gauge("clenzy_cost_policy_wrong", "1 while the policy's file cannot be used and an older one is in force.")
LOADS = Counter("clenzy_cost_policy_loads_total", "Readings of the policy's file.", ["outcome"])


def read_policy(path: Path) -> CostPolicy:
    """Return the policy that a file says.

    Raises:
        PolicyError: it cannot be read, is no TOML, or breaks a rule; the text names file, field and rule.
    """
    try:
        policy = parse_policy(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:  # the last: tables or lists in one another, too deep
        raise PolicyError(f"{path.name}: {error}") from error
    if len(policy_text(policy)) > COST_POLICY_BYTES_MAX:
        raise PolicyError(f"{path.name}: more than {COST_POLICY_BYTES_MAX} bytes with all its overrides")
    return policy


class PolicyWatch:
    """Holds the policy in force."""

    def __init__(self, path: Path = SHIPPED, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        self._policy = DEFAULT_POLICY
        self.problem: str | None = None
        """Why the file as it stands is not in force."""

    @property
    def policy(self) -> CostPolicy:
        """The policy in force, frozen: a decision that has begun ends by the same one."""
        return self._policy

    def load(self) -> None:
        """Read the file; keep the policy in force if it is wrong."""
        self._seen = self._stamp()
        try:
            self._policy = read_policy(self._path)
        except PolicyError as error:
            self.problem = str(error)
            IS_WRONG.set(1)
            LOADS.labels("wrong").inc()
            log.warning("cost_policy.wrong", problem=self.problem, kept=self._policy.label)
        else:
            self.problem = None
            IS_WRONG.set(0)
            LOADS.labels("taken").inc()
            log.info("cost_policy.taken", policy=self._policy.label)
        IN_FORCE.info({"name": self._policy.name, "version": str(self._policy.version)})

    def load_if_changed(self) -> bool:
        """Read the file if it is another one than the last time; return whether it was."""
        if self._stamp() == self._seen:
            return False
        self.load()
        return True

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            self.load_if_changed()
            await self._clock.sleep_ms(POLICY_CHECK_MS)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size
