"""The same job on billingd, five queues and a bare loop: pace, CPU, and what each loses or repeats after a kill -9."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.environment import Scale, server, table
from benchmarks.peers.subjects import PEERS, Peer, missing, subject
from testkit.usage import cpu_seconds
from testkit.waiting import becomes_true, wait_until

DELAYS_MS = (20, 0)
KILLS = 2
PATIENCE_SECONDS = 60
BASE = PEERS[0].name

Figures = dict[str, float]


def peers(folder: Path, scale: Scale) -> dict[str, Any]:
    """From the first job to the last bill, 16 in flight. A kill comes at 40 % of 1,000, the start at once after it."""
    reasons = {each.name: missing(each) for each in PEERS}
    all_of_them = {each.name: each for each in PEERS if not reasons[each.name]} | {"billingd": None}
    invoices = scale.of(2000, 100)
    paces: dict[str, list[Figures]] = {name: [] for name in all_of_them}
    for number in range(scale.pairs):
        for name, peer in all_of_them.items():
            at = {f"{each} ms": _pace(folder / f"{name}-{number}-{each}", peer, invoices, each) for each in DELAYS_MS}
            paces[name].append({f"{what} {delay}": figure for delay, run in at.items() for what, figure in run.items()})
    kills: dict[str, list[Figures]] = {name: [] for name in all_of_them}
    for number in range(min(KILLS, scale.pairs)):
        for name, peer in all_of_them.items():
            kills[name].append(_kill(folder / f"{name}-killed-{number}", peer, scale.of(1000, 100)))
    return {
        "invoices": invoices,
        "paces": paces,
        "kills": kills,
        "skipped": reasons,
        "table": _table(paces, kills, reasons),
    }


def _pace(folder: Path, peer: Peer | None, invoices: int, delay_ms: int) -> Figures:
    with server(folder / "server") as made, subject(peer, folder, made, invoices) as work:
        work.erp.start()
        if delay_ms:
            work.erp.add_fault(kind="delay", seconds=delay_ms / 1000)
        work.start()
        before = cpu_seconds(made.pid or 0, children=True)
        work.begin()
        wait_until(lambda: work.billed() >= invoices, within_seconds=600, every_seconds=0.25)
        database = cpu_seconds(made.pid or 0, children=True) - before
        return {
            "pace": invoices / work.seconds(),
            "worker": 1000 * work.cpu() / invoices,
            "database": 1000 * database / invoices,
        }


def _kill(folder: Path, peer: Peer | None, invoices: int) -> Figures:
    with server(folder / "server") as made, subject(peer, folder, made, invoices) as work:
        work.erp.start()
        work.erp.add_fault(kind="delay", seconds=0.02)
        work.start()
        work.begin()
        wait_until(lambda: len(work.erp.stats()["offers"]) >= 0.4 * invoices, within_seconds=60)
        work.kill()
        work.restart()
        becomes_true(lambda: work.billed() >= invoices, PATIENCE_SECONDS)
        return {
            "lost": invoices - work.billed(),
            "again": sum(work.erp.stats()["offers"].values()) - len(work.erp.stats()["offers"]),
        }


def _table(paces: dict[str, list[Figures]], kills: dict[str, list[Figures]], reasons: dict[str, str]) -> str:
    heads = ["who"]
    for delay in DELAYS_MS:
        heads += [f"invoices/s at {delay} ms", "of the loop"]
    heads += [
        "worker's CPU ms an invoice",
        "PostgreSQL's",
        f"unbilled {PATIENCE_SECONDS} s after a kill -9",
        "offered twice",
    ]
    rows: list[list[object]] = []
    for name, rounds in paces.items():
        row: list[object] = [name]
        for delay in DELAYS_MS:
            pace = f"pace {delay} ms"
            ratios = (each[pace] / base[pace] for each, base in zip(rounds, paces.get(BASE, ()), strict=False))
            row += [_spread(each[pace] for each in rounds), statistics.median(ratios) if BASE in paces else "-"]
        for what in ("worker", "database"):
            row.append(statistics.median(each[f"{what} {DELAYS_MS[0]} ms"] for each in rounds))
        row += [", ".join(str(each[what]) for each in kills[name]) for what in ("lost", "again")]
        rows.append(row)
    skipped = [f"\n{name} was skipped: {reason}." for name, reason in reasons.items() if reason]
    return "\n".join([table(heads, rows), *skipped])


def _spread(figures: Any) -> str:
    ordered = sorted(figures)
    return f"{statistics.median(ordered):.0f} ({ordered[0]:.0f} to {ordered[-1]:.0f})"
