"""Runs commands for tests: in the test's own process, where that is enough, or as a process of their own."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import app as cli
from tests.support.sample import ROOT


@dataclass(frozen=True)
class Done:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document on its standard output."""
        return json.loads(self.out)


class Commands:
    """The commands under one configuration file in `home`."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str] | None = None, **settings: Any) -> None:
        self.config_path = home / "billingd.yaml"
        document = {"state_dir": str(home / "state"), "ops": {"listen": f"unix:{home}/ops.sock"}, **settings}
        self.config_path.write_text(yaml.safe_dump(document))
        self._capsys = capsys

    @classmethod
    def on(cls, database_url: str, home: Path, capsys: pytest.CaptureFixture[str], **settings: Any) -> "Commands":
        """The commands on a database server."""
        return cls(home, capsys, database={"url": database_url}, **settings)

    def __call__(self, *arguments: str | Path) -> Done:
        """Runs a command in this process."""
        assert self._capsys is not None
        self._capsys.readouterr()
        status = cli.run(["--config", str(self.config_path), *map(str, arguments)])
        return Done(status, *self._capsys.readouterr())

    def line(self, *arguments: str | Path) -> list[str]:
        """The command as a process is started with it."""
        return [sys.executable, "-m", "cli", "--config", str(self.config_path), *map(str, arguments)]

    def on_terminal(self, *arguments: str | Path, typed: str = "") -> Done:
        """Runs a command as a process whose standard input and error are a terminal; `err` is what that showed."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            self.line(*arguments), cwd=ROOT, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
            stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True,
        ) as running:  # fmt: skip
            os.close(theirs)
            os.write(ours, typed.encode())
            shown = b""
            with suppress(OSError):  # the terminal's way to say that nobody has it open any more
                while piece := os.read(ours, 4096):
                    shown += piece
            out, _ = running.communicate(timeout=60)
        os.close(ours)
        return Done(running.returncode, out, shown.decode("utf-8", errors="replace"))

    def process(self, *arguments: str | Path, environ: Mapping[str, str] | None = None) -> Done:
        """Runs a command as a process of its own."""
        done = subprocess.run(
            self.line(*arguments), cwd=ROOT, env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)
