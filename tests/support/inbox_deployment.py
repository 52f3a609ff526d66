"""A daemon with an inbox, for tests: files are dropped as a metering system does it."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.keys import merged
from testkit.deployment import Deployment

_numbers = itertools.count(1)


class InboxDeployment(Deployment):
    """`drop` renames a whole copy into the inbox."""

    def __init__(self, home: Path, **more: Any) -> None:
        self.inbox = home / "inbox"
        self.inbox.mkdir(parents=True)
        super().__init__(home, **more)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """As any deployment, with the inbox."""
        needed = {"intake": {"inbox": str(self.inbox), "settle_seconds": 0.1}, "log": {"format": "json"}}
        super().configure(merged(needed, settings))

    def drop(self, source: Path | str, name: str | None = None) -> str:
        """Drops a copy of a file, or this text; returns the name it has."""
        target = self.inbox / (name or (source.name if isinstance(source, Path) else f"readings-{next(_numbers)}.csv"))
        hidden = target.with_name(f".{target.name}")
        if isinstance(source, Path):
            shutil.copyfile(source, hidden)
        else:
            hidden.write_text(source, "utf-8")
        hidden.replace(target)
        return target.name

    def waiting(self) -> list[str]:
        """What is still in the inbox."""
        return sorted(path.name for path in self.inbox.iterdir() if path.is_file() and not path.name.startswith("."))

    def done(self, name: str) -> bool:
        """Whether a file of this name was taken."""
        return any(self.inbox.glob(f"done/*/{name}"))

    def refused(self) -> dict[str, str]:
        """What was refused, with its reasons."""
        return {
            path.name.removesuffix(".reason"): path.read_text("utf-8") for path in self.inbox.glob("refused/*.reason")
        }
