"""A network namespace of a test's own: a machine beside this one, reached by cables that can be pulled."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest


class Cable:
    """A link between this machine and the namespace, with an address at each end."""

    def __init__(self, namespace: str, number: int) -> None:
        self._name = f"{namespace}-{number}"
        network = f"198.18.{os.getpid() % 256}.{4 * number}"  # of the block that is kept for tests
        base = network.rpartition(".")[0]
        self.here, there = f"{base}.{4 * number + 1}", f"{base}.{4 * number + 2}"
        run("ip", "link", "add", self._name, "type", "veth", "peer", "name", "eth", "netns", namespace)
        run("ip", "-n", namespace, "link", "set", "eth", "name", f"eth{number}")
        run("ip", "address", "add", f"{self.here}/30", "dev", self._name)
        run("ip", "-n", namespace, "address", "add", f"{there}/30", "dev", f"eth{number}")
        run("ip", "-n", namespace, "link", "set", f"eth{number}", "up")
        self.plug()

    def plug(self) -> None:
        run("ip", "link", "set", self._name, "up")

    def pull(self) -> None:
        """Nothing goes through any more, and neither end is told: as when a switch dies."""
        run("ip", "link", "set", self._name, "down")

    def remove(self) -> None:
        run("ip", "link", "delete", self._name)


class Namespace:
    """Where a process is on a machine of its own: prefix its command with `command`."""

    def __init__(self, cables: list[Cable], name: str) -> None:
        self.cables = cables
        self.command = ("ip", "netns", "exec", name)


@contextmanager
def namespace(cables: int) -> Iterator[Namespace]:
    """A namespace with so many cables, taken away at the end; skips the test where none can be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and ip")
    name = f"bd{os.getpid()}"
    with ExitStack() as stack:
        made = subprocess.run(("ip", "netns", "add", name), timeout=30, capture_output=True, text=True, check=False)
        stack.callback(subprocess.run, ("ip", "netns", "delete", name), timeout=30, capture_output=True, check=False)
        if "Operation not permitted" in made.stderr:  # root of a user namespace, as in a container
            pytest.skip("root may make no network namespace here")
        made.check_returncode()
        run("ip", "-n", name, "link", "set", "lo", "up")
        laid = []
        for number in range(cables):
            laid.append(Cable(name, number))
            stack.callback(laid[-1].remove)
        yield Namespace(laid, name)


def run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30, capture_output=True)
