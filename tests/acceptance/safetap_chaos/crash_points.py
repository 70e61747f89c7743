"""Which named place of the code belongs to which process, and what must happen for a process to pass it."""

import re
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NAMED = re.compile(r'\bcrash_point\("(\w+)"\)')


class Passed(Enum):
    """When a process passes a place."""

    AT_WORK = "while everything runs"
    AWAY = "while Postgres is away"
    BACK = "when Postgres is back and the spool is brought to it"


DOOR_POINTS = {
    "after_parse": Passed.AT_WORK,
    "before_commit": Passed.AT_WORK,
    "after_commit": Passed.AT_WORK,
    "before_answer": Passed.AT_WORK,
    "step_claimed": Passed.AT_WORK,
    "step_written": Passed.AT_WORK,
    "step_taken": Passed.AT_WORK,
    "before_spool_sync": Passed.AWAY,
    "after_spool_sync": Passed.AWAY,
    "after_replay_commit": Passed.BACK,
    "before_spool_cut": Passed.BACK,
}
SENDER_POINTS = ("notice_claimed", "notice_sent", "notice_recorded", "silence_after_claim", "silence_before_commit")


def named_in_the_code() -> set[str]:
    """Return every place of an alarm's life at which a process can be told to die; an offer's has its own test."""
    packages = ("engine/safetap", "safetap_door", "gateway_ws", "ops")
    files = (path for package in packages for path in (ROOT / package).rglob("*.py"))
    return {name for path in files for name in NAMED.findall(path.read_text())}
