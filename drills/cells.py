"""One cell of the table, from a fresh environment to the verdict: reach the state, apply, wait, end, recover, judge."""

import shutil
import signal
import time
import traceback
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from drills.environment import FINISH_SECONDS, RAISE_WITHIN_SECONDS, Environment
from drills.faults.fault import Fault
from drills.judge import judge, judge_alarms
from drills.states import STATES, State
from drills.table import Cell
from drills.workload import Workload
from testkit.daemon_log import supervision_events, wall_seconds
from testkit.waiting import NotReached, becomes_true, pause

TOLERANCE_SECONDS = 1.5
"""What a busy machine may add to the time until an alarm is read in the log."""
UNMET_SECONDS = 1.0
OF_A_BUSY_MACHINE = ("actor_hung", "database_error", "database_unreachable", "erp_unreachable")
"""Alarms that may be true in a cell that is not timed."""


@dataclass
class Result:
    """What a cell came to, as the JSON of docs/spec/interfaces.md has it."""

    failure: str
    variant: str
    state: str
    met: bool = False
    held: bool = False
    alarm_code: str | None = None
    alarm_seconds: float | None = None
    recovery_seconds: float | None = None
    first_booking_seconds: float | None = None
    alarms_raised: list[str] = field(default_factory=list)
    reason: str | None = None
    log: str | None = None


class CellRun:
    """Runs one cell and collects what does not hold."""

    def __init__(self, cell: Cell, env: Environment, fault: Fault) -> None:
        self.result = Result(cell.failure, cell.variant, cell.state)
        self._timed = cell.timed
        self._env = env
        self._fault = fault
        self._state: State = STATES[cell.state]
        self._let_go_at = 0.0
        self._wrong: list[str] = []

    def run(self) -> Result:
        """Runs the cell. Any error becomes a reason why it did not hold."""
        try:
            self._run()
        except NotReached as error:
            self._wrong.append(str(error))
        except Exception as error:  # noqa: BLE001 - one cell's end must not be the table's
            place = traceback.format_exc(limit=-2).splitlines()[-2].strip()
            self._wrong.append(f"{type(error).__name__}: {error} ({place})")
        self.result.held = not self._wrong
        self.result.reason = "; ".join(self._wrong) or self.result.reason
        return self.result

    def _run(self) -> None:
        env, fault, state = self._env, self._fault, self._state
        fault.prepare(env)
        state.reach(env)
        met = fault.can_meet(state)
        applied_at = wall_seconds()
        fault.apply(env, state)
        if met and fault.affects_one and state.name == "initiated":
            state.after(env)  # the others are to go on
        self._let_go_at = wall_seconds()
        if met:
            fault.release(env, state)
            fault.released(env, state)
            fault.wait(env, state)
            if fault.affects_one:
                self._see_unaffected_go_on()
            if fault.lasting and not fault.alarm_after_end:
                self._see_alarm(applied_at)
            met = fault.was_met(env)
        else:
            pause(UNMET_SECONDS)
        # What is wrong with the whole ERP holds no invoice: there is no witness.
        if not fault.holds_some and "held" in env.states().values():
            self._wrong.append("an invoice is held though all are refused")
        fault.end(env)
        ended = time.monotonic()
        if not met:
            self.result.reason = fault.unmet_reason
            fault.release(env, state)
            state.release(env)
        self.result.met = met
        state.after(env)
        if met and fault.lasting and fault.alarm_after_end:
            self._see_alarm(applied_at)
        self._see_first_booking()
        self._see_recovery(ended)
        if met:
            fault.afterwards(env)
        env.wait_alarms_cleared()
        self._see_alarms()
        self._end_in_order()
        self._wrong += judge(env, offers_again=fault.offers_again)

    def _see_alarm(self, applied_at: float) -> None:
        """The alarm stands within its time of the first sign."""
        fault, seen = self._fault, self._env.daemon.alarms
        patience = 3 * (RAISE_WITHIN_SECONDS + fault.silence_seconds) + 10
        if not becomes_true(lambda: seen.first_raised(fault.codes, applied_at) is not None, patience):
            self._wrong.append(f"no alarm {' or '.join(fault.codes)} within {patience:g} s")
            return
        alarm = seen.first_raised(fault.codes, applied_at)
        assert alarm is not None, "it was seen"
        sign_at = fault.first_sign(self._env) or self._let_go_at + fault.silence_seconds + self._state.next_seconds
        self.result.alarm_code = alarm.code
        self.result.alarm_seconds = round(max(0.0, alarm.at - sign_at), 2)
        if self.result.alarm_seconds > RAISE_WITHIN_SECONDS + TOLERANCE_SECONDS:
            self._wrong.append(f"the alarm came {self.result.alarm_seconds:g} s after the first sign")

    def _see_unaffected_go_on(self) -> None:
        env, others = self._env, self._fault.unaffected(self._env)
        if not becomes_true(lambda: env.all_in("registered", others), FINISH_SECONDS / 2):
            self._wrong.append(f"what the fault doesn't touch did not go on: {env.states()}")

    def _see_first_booking(self) -> None:
        limit, env = self._fault.books_within_seconds, self._env
        if limit is None:
            return
        began, before = time.monotonic(), env.count("registered")
        becomes_true(lambda: env.count("registered") > before or env.all_in("registered"), FINISH_SECONDS)
        self.result.first_booking_seconds = seconds = round(time.monotonic() - began, 2)
        if self._timed and seconds > limit + TOLERANCE_SECONDS:
            self._wrong.append(f"the first invoice was registered only {seconds:g} s after the end")

    def _see_recovery(self, ended: float) -> None:
        env = self._env

        def finished() -> bool:
            env.retry_held()
            return env.all_in("registered")

        if not becomes_true(finished, FINISH_SECONDS):
            self._wrong.append(f"not finished within {FINISH_SECONDS:g} s of the fault's end: {env.states()}")
            return
        self.result.recovery_seconds = round(time.monotonic() - ended, 2)

    def _see_alarms(self) -> None:
        lines = self._env.daemon.alarms.all()
        self.result.alarms_raised = [each.code for each in lines if each.state == "raised"]
        further = (*self._fault.further_codes, *self._state.codes, *(() if self._timed else OF_A_BUSY_MACHINE))
        self._wrong += judge_alarms(lines, self._fault.codes, further)

    def _end_in_order(self) -> None:
        """The daemon still runs, ends in order, and never ended by itself where it should not have."""
        daemon = self._env.daemon
        if daemon.pid is None:
            self._wrong.append("the daemon doesn't run")
        daemon.kill(signal.SIGTERM)
        allowed = {1} if self._fault.ends_process else set()
        exits = supervision_events(daemon.log_path, "Exited")
        crashed = any(each["supervision_reason"].partition(":")[0] == "Crashed" for each in exits)
        if self.result.failure != "S2" and crashed:
            self._wrong.append("an actor crashed: an expected fault crashes nobody")
        if bad := [status for status in daemon.unexpected_ends if status not in allowed]:
            self._wrong.append(f"the daemon ended by itself with {bad}")


def run_cell(cell: Cell, folder: Path, template: Path, workload: Workload) -> Result:
    """Runs a cell in a folder of its own, whose logs are kept if it did not hold, and leaves no process behind."""
    home, fault = folder / f"{cell.failure}-{cell.variant}-{cell.state}", cell.fault()
    try:
        with closing(fault), closing(Environment(home, template, workload, fault.setting)) as env:
            result = CellRun(cell, env, fault).run()
    except Exception as error:  # noqa: BLE001 - if no environment can be made, only this cell fails
        result = Result(cell.failure, cell.variant, cell.state, reason=f"{type(error).__name__}: {error}")
    if result.held:
        shutil.rmtree(home, ignore_errors=True)
    else:
        result.log = str(home)
    return result
