"""What a person sees on the terminal while an installation runs."""

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clenzy.log_stream import LogLine
from clenzy.supervisor import State

REPEAT_S: Final = 30.0
"""The same event of the same process is shown at most this often."""
WIDTH_MIN: Final = 120
COLOURS: Final = {"warning": "yellow", "error": "red", "critical": "bold red"}


def wide_console(*, stderr: bool = False) -> Console:
    """Return a console that cuts nothing off: passwords and addresses are there to be copied."""
    width = max(Console().width, WIDTH_MIN)
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


@dataclass(slots=True)
class Screen:
    """Prints events; a machine that reads gets the log lines themselves (`is_stream`)."""

    is_stream: bool = False
    """Every log line as JSON on standard output, nothing else: for service managers and containers."""
    is_verbose: bool = False
    console: Console = field(default_factory=wide_console)
    _shown: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    is_quiet: bool = False
    """While everything is being stopped, what ends is no news."""

    def line(self, line: LogLine) -> None:
        """Show a log line if a person should see it."""
        if self.is_stream:
            content = {**line.fields, "process": line.process, "level": line.level, "event": line.event}
            sys.stdout.write(json.dumps(content) + "\n")
            sys.stdout.flush()
        elif self.is_verbose or (line.severity >= 30 and line.process != "supervisor" and not self.is_quiet):  # noqa: PLR2004
            self._event(line)

    def changed(self, name: str, state: State, detail: str) -> None:
        """Tell of a program that ended, and of its return."""
        if self.is_stream or self.is_quiet:
            return
        if state is State.ENDED and self._is_news(name):
            self._ended.add(name)
            self._print(f"[yellow]{name} {escape(detail)}; starting it again[/]")
        elif state is State.READY and name in self._ended:
            self._ended.discard(name)
            self._print(f"[green]{name} is back[/]")

    def say(self, text: str) -> None:
        """Print a line of plain words."""
        if not self.is_stream:
            self.console.print(escape(text))

    def fail(self, reason: str) -> None:
        """Print why it all ends, on standard error."""
        wide_console(stderr=True).print(f"[bold red]Clenzy cannot start:[/] {escape(reason)}")

    def table(self, table: Table) -> None:
        """Print a table."""
        if not self.is_stream:
            self.console.print(table)

    def _is_news(self, name: str) -> bool:
        """Return whether the end of this program was not told lately: one that ends again and again says so once."""
        now_s = time.monotonic()
        told_s, _ = self._shown.get((name, ""), (float("-inf"), 0))
        if now_s - told_s < REPEAT_S:
            return False
        self._shown[name, ""] = (now_s, 0)
        return True

    def _event(self, line: LogLine) -> None:
        now_s = time.monotonic()
        shown_s, held_back = self._shown.get((line.process, line.event), (float("-inf"), 0))
        if not self.is_verbose and now_s - shown_s < REPEAT_S:
            self._shown[line.process, line.event] = (shown_s, held_back + 1)
            return
        self._shown[line.process, line.event] = (now_s, 0)
        fields = {key: value for key, value in line.fields.items() if key not in {"timestamp", "logger", "exception"}}
        words = " ".join([line.event, *(f"{key}={value}" for key, value in fields.items())])
        more = f" ({held_back} more like it)" if held_back else ""
        colour = COLOURS.get(line.level, "dim")
        self._print(f"[{colour}]{line.process}[/] {escape(words)}{more}")

    def _print(self, markup: str) -> None:
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {markup}")
