"""docs/operations.md as a script: its commands, the output it shows for each, and what others do in between."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

from cli import app as cli
from testkit.deployment import Deployment
from testkit.postgres import PROGRAMS, PostgresServer
from testkit.waiting import WAIT_SECONDS
from tests.support.sample import ROOT

DOCUMENT = ROOT / "docs" / "operations.md"
LEFT_OUT = "[…]"
# What differs from one time to the next, and what stands for it.
_VARIABLE = [
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "AT"),
    (re.compile(r"\(\d+ (s|min|h|d)\)"), "(AGO)"),
    (re.compile(r", (tried \d+ s ago, next try in \d+ s|being tried now)"), ""),
    (re.compile(r"last success (AT \(AGO\)|not yet)"), "last success AT (AGO)"),
    (re.compile(r"\d+(?= booked in the last minute| under way| queued)"), "N"),
    (re.compile(r"  \d+ initiated, "), "  N initiated, "),
    (re.compile(r"(?<=invoices show user-)\d+(?=\.2026-10\.1$)", re.M), "N"),
    (re.compile(r"127\.0\.0\.1:\d+(/(test_\d+|billingd)\b)?"), "HOST"),
    (re.compile(r"/\S*(?=/billingd\.yaml|/state)"), ""),
    (re.compile(r"\S+/ops\.sock|127.0.0.1:9464"), "ENDPOINT"),
    (re.compile(r"\d+\.\d+ GiB"), "N GiB"),
    (re.compile(r"SHA-256 [0-9a-f]{12}\b"), "SHA-256 X"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "ROOT"),
    (re.compile(r"root of \d{4}-\d\d-\d\d"), "root of DAY"),
    (re.compile(r"PostgreSQL \d+\.\d+"), "PostgreSQL N"),
    (re.compile(r"tzdata \S+"), "tzdata N"),
    (re.compile(r"is \d+\.\d s (ahead of|behind)|in \d+\.\d+ s"), "some s"),
    (re.compile(r"#[0-9a-f]{8}-[0-9a-f-]{27}"), "#INCARNATION"),
    (re.compile(r"(unreachable|no answer from \S+): .*"), r"\1: WHY"),
    (re.compile(r"\d+ begun"), "N begun"),
    (re.compile(r"ALT-\d{6}"), "ALT-N"),
    (re.compile(r"(?<=AT) +\d+ +(?=PUT|GET)"), " N "),
]


@dataclass(frozen=True)
class Step:
    """A command of the document with its output, or what others do (`happens`)."""

    happens: str = ""
    command: str = ""
    status: int = 0
    output: str = ""


def chapter(heading: str) -> str:
    """The text below a heading of the document, up to the next one of its kind or above."""
    text = DOCUMENT.read_text("utf-8")
    level = heading.split()[0]
    begins = text.index(f"\n{heading}\n")
    ends = re.compile(rf"^#{{2,{len(level)}}} ", re.M).search(text, begins + len(heading) + 2)
    return text[begins : ends.start() if ends else None]


def steps(text: str) -> Iterator[Step]:
    """What the text tells, in its order."""
    for match in re.finditer(r"<!-- (?P<happens>[^>]+) -->|```console\n(?P<block>.*?)```", text, re.S):
        if match["happens"]:
            yield Step(happens=match["happens"])
            continue
        for shown in re.split(r"^\$ ", match["block"], flags=re.M)[1:]:
            line, _, output = shown.partition("\n")
            command, _, ends = line.partition(" # ends with ")
            yield Step(command=command, status=int(ends or 0), output=output)


def plain(text: str) -> str:
    """The text without what differs from one time to the next."""
    for pattern, stands in _VARIABLE:
        text = pattern.sub(stands, text)
    return "".join(f"{line.rstrip()}\n" for line in text.strip().splitlines())


def is_shown(shown: str, output: str) -> bool:
    """Whether the output is what the document shows, but for the lines that it leaves out."""
    lines = (r"(.*\n)*?" if line == LEFT_OUT else re.escape(f"{line}\n") for line in plain(shown).splitlines())
    return re.fullmatch("".join(lines), plain(output)) is not None


@dataclass
class Operator:
    """Whoever types the commands: billingd's go to the deployment, the server's programs to its database."""

    deployment: Deployment
    server: PostgresServer | None = None

    def follow(self, text: str, happenings: Mapping[str, Callable[[], None]]) -> None:
        """Does what the text tells, and compares each output with what it shows."""
        for step in steps(text):
            if step.happens:
                happenings[step.happens]()
                continue
            status, said = self._perform(shlex.split(step.command))
            assert status == step.status, f"{step.command}\n{said}"
            assert is_shown(step.output, said), f"$ {step.command}\n{plain(said)}--- is not:\n{plain(step.output)}"

    def _perform(self, words: list[str]) -> tuple[int, str]:
        match words:
            case ["billingd", *arguments]:
                return self._billingd(arguments)
            case ["systemctl", "stop", *_] | ["systemctl", "disable", *_]:
                return self.deployment.daemon.stop(), ""
            case ["systemctl", *_]:
                self.deployment.daemon.start()
                return 0, ""
            case [program, *arguments]:
                done = subprocess.run(
                    [PROGRAMS / program, *arguments], env={**os.environ, **self._way_to_the_server()},
                    cwd=self.deployment.home, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False,
                )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def _billingd(self, arguments: list[str]) -> tuple[int, str]:
        """In this process, since what a command says is what counts here, and two dozen starts take long."""
        out, err = StringIO(), StringIO()
        with chdir(self.deployment.home), redirect_stdout(out), redirect_stderr(err):
            status = cli.run(["--config", str(self.deployment.config_path), *arguments])
        return status, out.getvalue() + err.getvalue()

    def _way_to_the_server(self) -> dict[str, str]:
        assert self.server is not None
        settings = self.server.settings()
        return {
            "PGHOST": "127.0.0.1", "PGPORT": str(self.server.port), "PGUSER": "billingd",
            "PGPASSWORD": settings.password or "",
        }  # fmt: skip
