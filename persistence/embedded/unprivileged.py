"""How root runs PostgreSQL, which refuses to be root: in a user namespace, else under an unprivileged account."""

import functools
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

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
# Keeps of root's rights the one to pass folders that are root's own, as /root or a private folder above the programs or
# the data: to read and search anything (2), or where that is not given, as in many containers, to pass any check (1).
_ACCOUNT_LAUNCHER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
with open("/proc/self/status") as file:
    (line,) = (line for line in file if line.startswith("CapPrm:"))
right = next((right for right in (2, 1) if int(line.split()[1], 16) >> right & 1), None)
libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
libc.prctl(28, 4, 0, 0, 0)  # PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP: it counts in access(2), which initdb asks
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
if right is not None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    libc.capset(header, (ctypes.c_uint32 * 6)(*[1 << right] * 3, 0, 0, 0))
    libc.prctl(47, 2, right, 0, 0)  # PR_CAP_AMBIENT_RAISE: it outlives the exec, also of the server's own children
os.execv(sys.argv[3], sys.argv[3:])
"""
_ACCOUNTS = ("billingd", "postgres", "nobody")


def prepare(home: Path) -> None:
    """Gives root's folder, with all in it, to the account that the server will run under, if it needs one.

    It may be root's by a restored copy, or from a time when there were user namespaces.
    """
    if os.geteuid() == 0 and home.stat().st_uid == 0 and not _has_namespaces():
        account = _account()
        for path in (*home.rglob("*"), home):  # itself last: what was cut short is done again
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def run_as(command: list[str], home: Path) -> dict[str, Any]:
    """The arguments for subprocess to run `command` as the owner of `home`, yet never as root."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    arguments: dict[str, Any] = {"args": command, "env": environment, "cwd": home}
    if os.geteuid() != 0:
        return arguments
    owner = home.stat()
    if owner.st_uid == 0:
        return arguments | {"args": [*_launcher(), *command]}
    return arguments | {"args": [*_launcher(_ACCOUNT_LAUNCHER), str(owner.st_uid), str(owner.st_gid), *command]}


def _launcher(program: str = _LAUNCHER) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program]


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
