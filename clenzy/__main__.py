"""`python -m clenzy` and the command `clenzy`: load the command line, which takes a second, and run it."""

import sys

_INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C has ended."""


def main() -> None:
    """Run the command line; a Ctrl-C that it has not yet learned to answer ends it without a word."""
    try:
        from clenzy.cli import main as run  # noqa: PLC0415 - Ctrl-C may come while this is loaded

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
