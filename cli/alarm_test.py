"""`billingd alarms test`: has the running daemon test its alarms; without one it tries the webhook only."""

import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from alarming.catalogue import Code
from alarming.chain_test import Arrival, run_without_daemon
from cli.invocation import CommandFailed
from cli.output import columns, print_json, print_lines, print_note
from config.secrets import SecretUnreadable
from config.settings import Settings
from daemon.alarm_test import NotTested, order_test
from daemon.alarms import alarm_settings
from daemon.reload import running_process
from supervision.clock import SystemClock

_JOURNAL_SECONDS = 20.0


def test_chain(settings: Settings, *, as_json: bool) -> int:
    """1 if the alarm is missing anywhere."""
    clock = SystemClock()
    try:
        process, begun = running_process(settings.state_dir), clock.wall().timestamp()
        if process is not None:
            found = [*order_test(settings.state_dir), _in_journal(process, begun, clock)]
        else:
            print_note(f"no daemon runs in {settings.state_dir}: only the webhook can be tried without it")
            webhook = alarm_settings(settings).webhook
            found = run_without_daemon(settings.instance, webhook, clock) if webhook else []
            found += map(Arrival, ("spool", "log", "table", "journal"))
    except (NotTested, SecretUnreadable, OSError) as error:
        raise CommandFailed(f"the alarms were not tested: {error}") from error
    if settings.alarms.webhook_url is None:
        found += map(Arrival, ("webhook", "Alertmanager"))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        print_lines(columns(("place", "after s", ""), [_told(one) for one in found], right=("after s",)))
    return 1 if any(one.problem for one in found) else 0


def _told(one: Arrival) -> tuple[str, str, str]:
    if one.seconds is not None:
        return one.place, f"{one.seconds:.2f}", "arrived"
    return one.place, "", one.problem or "not tried"


def _in_journal(process: int, begun: float, clock: SystemClock) -> Arrival:
    """Whether the journal has the line since `begun`; not tried for a daemon that is no service."""
    try:
        service = Path(f"/proc/{process}/cgroup").read_text("utf-8").rstrip().endswith(".service")
    except OSError:
        service = False
    if not service or shutil.which("journalctl") is None:
        return Arrival("journal")
    of_it = (f"_PID={process}", f"BILLINGD_ALARM_CODE={Code.ALARM_TEST}")
    command = ["journalctl", "-q", "-o", "cat", "-S", f"@{int(begun)}", *of_it]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_JOURNAL_SECONDS, check=False)
    if done.stdout:
        return Arrival("journal", clock.wall().timestamp() - begun)
    return Arrival("journal", None, done.stderr.strip() or "it has no such line, or does not show it to this user")
