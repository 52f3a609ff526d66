"""Who a command acts for: the user it runs as, and beside it the person who became that user."""

import os
import pwd
from pathlib import Path

import pytest

from cli import invocation
from cli.invocation import caller_identity

OURS = pwd.getpwuid(os.getuid()).pw_name


def logged_in_as(monkeypatch: pytest.MonkeyPatch, user_id: int | str, **environment: str) -> str:
    monkeypatch.delenv("SUDO_USER", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(invocation, "_LOGIN_ID", Path(os.devnull))
    monkeypatch.setattr(Path, "read_text", lambda _: str(user_id))
    return caller_identity()


def test_nobody_else_is_named_where_nobody_else_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for user_id in (2**32 - 1, os.getuid(), "no number"):
        assert logged_in_as(monkeypatch, user_id) == f"cli:{OURS}"


def test_who_logged_in_stands_beside_who_is_root_now(monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(each for each in pwd.getpwall() if each.pw_uid != os.getuid())
    assert logged_in_as(monkeypatch, other.pw_uid, SUDO_USER="invented") == f"cli:{OURS} ({other.pw_name})"
    assert logged_in_as(monkeypatch, 54321) == f"cli:{OURS} (54321)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")
def test_roots_sudo_says_who_where_the_kernel_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logged_in_as(monkeypatch, 2**32 - 1, SUDO_USER="ana\x1b[2J") == "cli:root (ana[2J)"
    assert logged_in_as(monkeypatch, 2**32 - 1, SUDO_USER="root") == "cli:root"
