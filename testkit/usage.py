"""What a process of this machine uses, read from /proc."""

import os
from contextlib import suppress
from pathlib import Path


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """User's and system's, with `children` also those that run and those that it has waited for."""
    spent = map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])
    if not children:
        return (next(spent) + next(spent)) / os.sysconf("SC_CLK_TCK")
    running = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = sum(spent) / os.sysconf("SC_CLK_TCK")
    for each in running:
        with suppress(FileNotFoundError):  # it has ended meanwhile
            total += cpu_seconds(int(each), children=True)
    return total


def resident_mb(pid: int) -> float:
    """What it has in memory now, in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
