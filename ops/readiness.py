"""Whether a process can work: named checks that its components set, read by `/readyz`."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Readiness:
    """Named checks; ready when there is at least one and all hold."""

    _checks: dict[str, tuple[bool, str]] = field(default_factory=dict)

    def set(self, check: str, *, ok: bool, detail: str = "") -> None:
        """Record that `check` holds, or why not."""
        self._checks[check] = (ok, detail)

    @property
    def is_ready(self) -> bool:
        """Whether every check holds."""
        return bool(self._checks) and all(ok for ok, _ in self._checks.values())

    def report(self) -> dict[str, object]:
        """Return the body of `/readyz`."""
        return {
            "ready": self.is_ready,
            "checks": {name: {"ok": ok, "detail": detail} for name, (ok, detail) in self._checks.items()},
        }
