"""The drill's end of the daemon's named points (actors/points.py): orders written as files."""

from collections.abc import Sequence
from pathlib import Path


class Orders:
    """The folder that the daemon reads its orders from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def give(self, point: str, order: str, only: Sequence[str] = ()) -> None:
        """Puts an order at a point, in one step; `only` names the invoices that it is for."""
        fresh = self.folder / f"{point}.order.new"
        fresh.write_text("\n".join((order, *only)))
        fresh.replace(self.folder / f"{point}.order")

    def take_back(self, point: str | None = None) -> None:
        """Takes an order back, or all of them: whoever is held goes on."""
        for path in self.folder.glob(f"{point or '*'}.order"):
            path.unlink(missing_ok=True)

    def stands(self, point: str) -> bool:
        """Whether an order stands there; one that was for once is taken away by who obeys it."""
        return (self.folder / f"{point}.order").exists()

    def reached(self, point: str) -> int:
        """The number of the last comer who was held, crashed or hung there; 0: nobody yet."""
        try:
            return int((self.folder / f"{point}.at").read_text())
        except (OSError, ValueError):
            return 0

    def forget_comers(self) -> None:
        """For a new process, whose comers are counted from 1; the orders stand."""
        for path in self.folder.glob("*.at"):
            path.unlink(missing_ok=True)
