"""A process with all commands imported that forks for each run of one: quick, and with real streams, users and ends."""

import contextlib
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.sample import ROOT

RUN_SECONDS = 30
NOBODY = 65534


@dataclass(frozen=True)
class Ended:
    """How a run ended: its status, negative for a signal, and what it wrote; `hung` if it had to be killed."""

    status: int
    out: str
    err: str
    hung: bool


class CommandForks:
    """Give it a command line; where standard output and input lead, and as whom it runs, is said beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.command_forks"], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def __call__(
        self,
        *arguments: str,
        stdin: str | None = os.devnull,
        stdout: str | None = "",
        encoding: str = "utf-8",
        nobody: bool = False,
        stopped: bool = False,
    ) -> Ended:
        """Runs one command. `None` stands for a closed stream; `stopped` sends SIGTERM, which `run` keeps."""
        out, err = self._folder / "out", self._folder / "err"
        for file in (out, err):
            file.write_text("")
        job = {
            "arguments": arguments, "stdin": stdin, "stdout": str(out) if stdout == "" else stdout, "err": str(err),
            "encoding": encoding, "nobody": nobody, "stopped": stopped,
        }  # fmt: skip
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        ended = json.loads(self._server.stdout.readline())
        return Ended(ended["status"], out.read_text(encoding), err.read_text(errors="replace"), ended["hung"])

    def close(self) -> None:
        self._server.communicate(timeout=RUN_SECONDS)


def _serve() -> None:
    for room in ("cli", "daemon", "web", "actors", "persistence", "alarming", "altibiz", "drills", "encodings"):
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            with contextlib.suppress(ImportError):
                if "migrations" not in module.name and not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
    for name in ("rich.live", "rich.progress", "sqlalchemy.dialects.postgresql.pg8000", "uvicorn.loops.asyncio"):
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), flush=True)


def _forked(job: dict[str, Any]) -> dict[str, Any]:
    if job["stopped"]:  # it has no instruction before its first: the signal waits for that
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_BLOCK, ()) if child == 0 else ())
    if child == 0:
        status = 255
        try:
            status = _run(job)
        except BaseException:  # noqa: BLE001 - whatever the interpreter would end with a traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    watched = os.pidfd_open(child)
    if job["stopped"]:
        os.kill(child, signal.SIGTERM)
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    hung = not poll.poll(RUN_SECONDS * 1000)
    if hung:
        os.kill(child, signal.SIGKILL)
    os.close(watched)
    _, wait_status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(wait_status), "hung": hung}


def _run(job: dict[str, Any]) -> int:
    from cli.__main__ import main

    _open_streams(job)
    sys.argv = ["billingd", *job["arguments"]]
    if job["nobody"]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _open_streams(job: dict[str, Any]) -> None:
    """As the interpreter makes them: None for a closed one, and an encoding that knows no substitutes."""
    sys.stderr = _stream(job["err"], 2, "w", job["encoding"], "backslashreplace")
    sys.stderr.reconfigure(write_through=True)
    for descriptor, name, mode in ((1, "stdout", "w"), (0, "stdin", "r")):
        if job[name] is None:
            setattr(sys, name, None)
        else:
            setattr(sys, name, _stream(job[name], descriptor, mode, job["encoding"], "strict"))
    for descriptor, name in enumerate(("stdin", "stdout")):
        if job[name] is None:
            os.close(descriptor)


def _stream(path: str, descriptor: int, mode: str, encoding: str, errors: str) -> io.TextIOWrapper:
    opened = os.open(path, os.O_RDONLY if mode == "r" else os.O_WRONLY | os.O_APPEND)
    os.dup2(opened, descriptor)
    os.close(opened)
    return io.TextIOWrapper(os.fdopen(descriptor, f"{mode}b"), encoding, errors)


if __name__ == "__main__":
    _serve()
