"""How root runs PostgreSQL, which refuses to be root: in a user namespace, else under an unprivileged account."""

import functools
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["prepare", "run_as"]

_INSIDE_UID = 1000
"""Any but root's and the overflow id: what we are called in the namespace. Outside, files stay ours."""

# Runs as a program of its own: after a fork of a process with threads hardly anything may be called safely.
_LAUNCHER = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.geteuid(), os.getegid()
if libc.unshare(0x10000000):  # CLONE_NEWUSER
    raise OSError(ctypes.get_errno(), "no user namespace")
maps = {{"setgroups": "deny", "uid_map": f"{_INSIDE_UID} {{uid}} 1", "gid_map": f"{_INSIDE_UID} {{gid}} 1"}}
for name, line in maps.items():
    with open("/proc/self/" + name, "w") as file:
        file.write(line)
os.execv(sys.argv[1], sys.argv[1:])
"""
_ACCOUNTS = ("billingd", "postgres", "nobody")


def prepare(home: Path) -> None:
    """Gives a folder made by root to the account that the server will run under, if it needs one."""
    if os.geteuid() == 0 and home.stat().st_uid == 0 and not _has_namespaces():
        account = _account()
        os.chown(home, account.pw_uid, account.pw_gid)


def run_as(command: list[str], home: Path) -> dict[str, Any]:
    """The arguments for subprocess to run `command` as the owner of `home`, yet never as root."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    arguments: dict[str, Any] = {"args": command, "env": environment, "cwd": home}
    if os.geteuid() != 0:
        return arguments
    owner = home.stat()
    if owner.st_uid == 0:
        return arguments | {"args": [*_launcher(), *command]}
    return arguments | {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


def _launcher() -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER]


@functools.cache
def _has_namespaces() -> bool:
    """Whether this system lets us make a user namespace: many containers don't."""
    return subprocess.run([*_launcher(), "/bin/true"], capture_output=True, check=False).returncode == 0


def _account() -> pwd.struct_passwd:
    for name in _ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise OSError(f"PostgreSQL can't run as root, and none of the accounts {', '.join(_ACCOUNTS)} exists")
