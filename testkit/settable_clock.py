"""The wall clock of one program, set while the program runs: by the library `faketime`, which it is started with."""

from functools import cache
from pathlib import Path

NOT_INSTALLED = "faketime is not installed: no clock can be set while a program runs"


@cache
def library() -> Path | None:
    """The preloaded library, made for programs with threads; None where it is not installed."""
    return next(iter(sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))), None)


class SettableClock:
    """Runs as the machine's until it is set. CLOCK_MONOTONIC and CLOCK_BOOTTIME are the machine's own."""

    def __init__(self, path: Path) -> None:
        """`path` becomes the file by which it is set; the program has to be able to read it."""
        self._path = path
        self.ahead_seconds = 0.0
        self.set_by(0.0)

    @property
    def environment(self) -> dict[str, str]:
        """What the program is to be started with."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_by(self, seconds: float) -> None:
        """Sets it, forward or back, in one step."""
        self.ahead_seconds += seconds
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{self.ahead_seconds:+.0f}\n")
        fresh.chmod(0o644)
        fresh.replace(self._path)
