"""The test's end of the daemon's failpoints (actors/failpoints.py): actions written as files."""

from collections.abc import Sequence
from pathlib import Path

from testkit.waiting import WAIT_SECONDS, wait_until


class Failpoints:
    """The folder from which a daemon reads what to do at its failpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def enable(self, failpoint: str, action: str, only: Sequence[str] = ()) -> None:
        """Sets the action of a failpoint, in one step; `only` names the invoices that it is for."""
        fresh = self.folder / f"{failpoint}.action.new"
        fresh.write_text("\n".join((action, *only)))
        fresh.replace(self.folder / f"{failpoint}.action")

    def disable(self, failpoint: str | None = None) -> None:
        """Takes the action of a failpoint away, or all of them: held actors go on."""
        for path in self.folder.glob(f"{failpoint or '*'}.action"):
            path.unlink(missing_ok=True)

    def is_enabled(self, failpoint: str) -> bool:
        """Whether it has an action; the first arrival takes one that is for once away."""
        return (self.folder / f"{failpoint}.action").exists()

    def reached(self, failpoint: str) -> int:
        """The number of the last arrival that was held, crashed or hung there; 0: none yet."""
        try:
            return int((self.folder / f"{failpoint}.reached").read_text())
        except (OSError, ValueError):
            return 0

    def wait_for_arrivals(self, failpoint: str, number: int, *, within_seconds: float = WAIT_SECONDS) -> None:
        """Returns once so many arrivals were held there. Raises NotReached."""
        wait_until(
            lambda: self.reached(failpoint) >= number,
            within_seconds=within_seconds,
            what=f"{number} arrivals at {failpoint}",
        )

    def reset_counts(self) -> None:
        """For a new process, whose arrivals are counted from 1; the actions stay."""
        for path in self.folder.glob("*.reached"):
            path.unlink(missing_ok=True)
