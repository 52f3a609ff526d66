"""What systemd is told, over a socket that stands for it."""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from daemon.systemd_notify import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"@billingd-{uuid.uuid4()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        receiver.settimeout(5)
        yield receiver, name


def test_each_message_is_what_the_protocol_asks_for(systemd: tuple[socket.socket, str]) -> None:
    receiver, name = systemd
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name})

    def received() -> str:
        return receiver.recv(4096).decode()

    assert notifier.ready("all is\nwell")
    assert received() == "READY=1\nSTATUS=all is well"
    assert notifier.status("2 wait\n")
    assert received() == "STATUS=2 wait"
    assert notifier.watchdog()
    assert received() == "WATCHDOG=1"
    before = time.monotonic_ns() // 1000
    assert notifier.reloading()
    first, second = received().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert notifier.stopping()
    assert received() == "STOPPING=1"
    assert notifier.extend_timeout(12.5)
    assert received() == "EXTEND_TIMEOUT_USEC=12500000"


def test_without_systemd_nothing_is_said() -> None:
    assert not SystemdNotifier({}).ready()


def test_a_socket_that_is_gone_or_impossible_raises_nothing(tmp_path: Path) -> None:
    assert not SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert not SystemdNotifier({"NOTIFY_SOCKET": "/" + "x" * 200}).ready()
    assert not SystemdNotifier({"NOTIFY_SOCKET": "/a\0b"}).ready()


def test_a_systemd_that_does_not_read_blocks_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        notifier = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        began = time.monotonic()
        assert not all(notifier.watchdog() for _ in range(5000))
        assert time.monotonic() - began < 5


def test_children_do_not_inherit_the_way_to_systemd() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    SystemdNotifier(environ)
    assert environ == {"HOME": "/"}


def test_what_systemd_waits_for_is_said_again_once_it_reads(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})

        def read() -> list[str]:
            found = []
            with suppress(BlockingIOError):
                while True:
                    found.append(receiver.recv(4096).decode())
            return found

        while notifier.watchdog():
            pass
        assert not notifier.ready("running")
        assert not notifier.watchdog()
        read()
        assert notifier.status("well")
        assert notifier.status("well")
        assert read() == ["READY=1\nSTATUS=well", "STATUS=well"]
