"""A signal at any step of the main loop's wait: it is kept, and the loop goes on."""

import subprocess
import sys

from tests.support.sample import ROOT

PROGRAM = """
import faulthandler, signal, sys
from daemon.lifecycle import Signals

faulthandler.dump_traceback_later(10, exit=True)  # a loop that stands still
signals = Signals.installed()


def wait_with_signal_at(step):
    def trace(frame, event, argument):
        nonlocal step
        frame.f_trace_opcodes = True
        step -= 1
        if step == 0:
            signal.raise_signal(signal.SIGHUP)
        return trace

    sys.settrace(trace)
    signals.wait(0.0)
    sys.settrace(None)
    return step <= 0


steps = 0
while wait_with_signal_at(steps + 1):
    assert signals.reload
    signals.reload, steps = False, steps + 1
print(steps)
"""


def test_a_signal_at_any_step_of_the_wait_does_not_stop_the_main_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 3
