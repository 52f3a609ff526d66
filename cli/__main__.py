"""The entry point of every command: keeps signals for `run` from its first instruction on, then imports the rest."""

import signal
import sys

HELD = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})
"""What the daemon acts on. The kernel keeps them until `Signals.installed` of daemon/lifecycle.py lets them through."""


def main() -> None:
    """End the process with the status of the command that the arguments name."""
    if _command() == "run":
        # Importing takes most of a second, and the usual answer to these signals is to end.
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    from cli import app  # only now

    app.main()


def _command() -> str | None:
    words = iter(sys.argv[1:])
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


if __name__ == "__main__":
    main()
