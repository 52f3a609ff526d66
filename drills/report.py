"""What is shown of a drill: the table as it fills, its sum, the JSON of docs/spec/interfaces.md."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from drills.cells import Result
from drills.states import STATES
from drills.table import Cell

_WIDTH = 16
_NAME_WIDTH = 30
_CODE_WIDTH = 22


class Table:
    """Prints a row as soon as its last cell has come; `put` takes lines of data, `say` lines of progress."""

    def __init__(self, cells: Sequence[Cell], put: Callable[[str], None], say: Callable[[str], None]) -> None:
        self._put, self._say = put, say
        self._number, self._come = len(cells), 0
        self._missing = Counter((cell.failure, cell.variant) for cell in cells)
        self._rows: dict[tuple[str, str], dict[str, Result]] = {}
        self._states = [name for name in STATES if any(cell.state == name for cell in cells)]
        put("seconds until the alarm / from the end of the fault until all is done; -: no alarm is due; n/m: not met")
        header = "".join(f"{name:>{_WIDTH}}" for name in self._states)
        put(f"{'failure':<{_NAME_WIDTH}}{'alarm':<{_CODE_WIDTH}}{header}")

    def take(self, result: Result) -> None:
        """Takes the result of a cell that has ended."""
        self._come += 1
        row = (result.failure, result.variant)
        self._rows.setdefault(row, {})[result.state] = result
        word = "held" if result.held else "NOT HELD"
        more = f": {result.reason}; logs in {result.log}" if not result.held else "" if result.met else ", not met"
        self._say(f"[{self._come}/{self._number}] {result.failure} {result.variant} {result.state}: {word}{more}")
        self._missing[row] -= 1
        if not self._missing[row]:
            self._put(self._line(row))

    def _line(self, row: tuple[str, str]) -> str:
        results = self._rows.pop(row)
        codes = "|".join(sorted({each.alarm_code for each in results.values() if each.alarm_code}))
        cells = "".join(f"{_short(results.get(state)):>{_WIDTH}}" for state in self._states)
        return f"{' '.join(row):<{_NAME_WIDTH}}{codes or '-':<{_CODE_WIDTH}}{cells}"


def _short(result: Result | None) -> str:
    if result is None:
        return ""
    if not result.held:
        return "NOT HELD"
    recovery = "?" if result.recovery_seconds is None else f"{result.recovery_seconds:.1f}"
    if not result.met:
        return f"n/m {recovery}"
    alarm = "-" if result.alarm_seconds is None else f"{result.alarm_seconds:.1f}"
    return f"{alarm} / {recovery}"


def total(results: Sequence[Result], seed: int) -> str:
    """One line that counts what held, what could not be met and what did not hold."""
    held = sum(each.held and each.met for each in results)
    not_met = sum(each.held and not each.met for each in results)
    not_held = sum(not each.held for each in results)
    return f"{len(results)} cells, seed {seed}: {held} held, {not_met} ran and could not be met, {not_held} not held"


def document(results: Sequence[Result], seed: int) -> dict[str, Any]:
    return {"seed": seed, "cells": [asdict(each) for each in results]}
