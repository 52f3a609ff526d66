"""Starts the daemon, serves its signals, drains it and stops it."""

import logging
import os
import signal
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from actors import messages
from actors.attribution import Attribution
from actors.context import ActorContext, InForce, SettingsHolder
from actors.embedded import EmbeddedDatabase
from actors.traces import make_traces
from actors.tree import courier, tree
from alarming import chain_test
from alarming.actor import AlarmActor, AlarmSnapshot, Configure
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from config.diff import apply_reload, changes
from config.files import refuse_unusable_files
from config.load import ConfigurationRejected, Loaded, load
from config.moved_clock import now_from
from config.secrets import TOKEN_KEYS, SecretUnreadable, database_password, token
from config.settings import Settings
from daemon import logs
from daemon.alarm_test import AlarmTester
from daemon.alarms import alarm_settings, install_log_rules
from daemon.database import limits, seen_server, server_settings
from daemon.metrics import Metrics
from daemon.reload import outcome_path, write_outcome
from daemon.status import StatusCollector
from daemon.systemd_notify import SystemdNotifier
from persistence import instances
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import PersistenceError, ServerUnsuitable
from persistence.connection.session import Heartbeat
from persistence.embedded.server import EmbeddedServer
from supervision import ChildSpec, StartFailed, SupervisionError, System, dump_stacks, fan_out, log_events
from supervision.clock import SystemClock, system_randomness
from web.app import OpsEndpoint
from web.intake_endpoint import IntakeEndpoint
from web.routes import ControlRoom
from web.server import CannotListen

logger = logging.getLogger("billingd")

LOOP_SECONDS = 0.5
START_CHECK_SECONDS = 2.0
EMBEDDED_DATABASE = "embedded_database"
EMBEDDED_START_SECONDS = 600.0
EMBEDDED_STOP_SECONDS = 300.0
TRACES_STOP_SECONDS = 2.0

T = TypeVar("T")


class StartRefused(Exception):  # noqa: N818 - it says what happened
    """The daemon can't run with this configuration or on this machine; the message is for people."""


@dataclass
class Signals:
    """Requests to the process; set by signal handlers, read by the main loop.

    No Event wakes it: a handler runs between two steps of the main thread, which may have that Event's lock in hand.
    """

    wake: SimpleQueue[None]
    stop: bool = False
    reload: bool = False
    dump: bool = False

    def wait(self, seconds: float) -> None:
        """Waits for a signal, at most so long."""
        with suppress(Empty):
            self.wake.get(timeout=seconds)

    @classmethod
    def installed(cls) -> "Signals":
        signals = cls(SimpleQueue())

        def on(name: str) -> Any:
            def handle(_number: int, _frame: object) -> None:
                setattr(signals, name, True)
                signals.wake.put(None)

            return handle

        for number, name in (("SIGTERM", "stop"), ("SIGINT", "stop"), ("SIGHUP", "reload"), ("SIGUSR1", "dump")):
            signal.signal(getattr(signal, number), on(name))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {getattr(signal, number)})  # kept since cli/__main__.py
        return signals


class Daemon:
    def __init__(self, loaded: Loaded, config_path: Path | None, version: str) -> None:
        self.loaded = loaded
        self._config_path = config_path
        settings = loaded.settings
        if settings.erp.base_url is None:
            raise StartRefused("the configuration has no erp.base_url: set it to the ERP's address, then start again")
        self.clock = SystemClock()
        self._notifier = SystemdNotifier()
        self._server = EmbeddedServer(settings.state_dir) if settings.database.embedded else None
        _refuse_start(lambda: refuse_unusable_files(loaded))
        token, self._room_token, self._intake_token = self._read_tokens(settings)
        self._connection = self._server_settings(settings)
        self.context = ActorContext(
            settings_holder=SettingsHolder(settings, token),
            clock=self.clock,
            randomness=system_randomness(),
            now=_refuse_start(lambda: now_from(os.environ, self.clock.wall, self.clock.monotonic)),
            instance=settings.instance,
            incarnation=uuid.uuid4(),
            version=version,
            proved_alone=self._server is not None,
            connect=self.connect,
            seen_server=seen_server(settings, only_refuses=False),
            traces=make_traces(settings.telemetry.otlp_endpoint, self.clock, settings.instance, version),
        )
        self.snapshot = AlarmSnapshot()
        self._alarms = _refuse_start(lambda: alarm_settings(settings))
        self._record_signs = install_log_rules(settings)
        self._alarm_tester = AlarmTester(self._test_alarms, lambda: self.context.settings, self.context.now)
        self.system = self._make_system()
        self.status = StatusCollector(self.context, self.system, loaded, self.snapshot)
        metrics = Metrics(self.context.metrics, self.snapshot, self.system.waiting_messages, self.clock.monotonic)
        room = ControlRoom(
            instance=settings.instance,
            token=lambda: self._room_token,
            settings=lambda: self.context.settings.ops,
            status=self.status.document,
            connect=self.connect,
        )
        self._intake = IntakeEndpoint(lambda: self.context.settings.intake, lambda: self._intake_token, self.connect)
        self._ops = OpsEndpoint(
            settings.ops.address,
            alive=self.status.alive,
            ready=self.status.ready,
            status=self.status.document,
            metrics=metrics.render,
            control_room=room,
        )

    def connect(self, name: str, *, listen: bool = False, heartbeat: Heartbeat | None = None) -> Database:
        """A connection of the caller's own to the database in force; one with a heartbeat has no limit but that.

        What it takes was read at the start or the last reload: a file that is lost later keeps no actor from starting.
        """
        of_now = limits(self.context.settings, name)
        if heartbeat is not None:
            of_now["statement_timeout_seconds"] = 0
        if self._server is not None:
            settings = self._server.settings(**of_now)
        else:
            assert self._connection is not None, "without a server of our own there is a configured one"
            settings = replace(self._connection, **of_now)
        timed = self.context.metrics.transactions.labels(name).time
        seen_server = self.context.seen_server
        return Database(settings, listen=listen, heartbeat=heartbeat, seen_server=seen_server, timed=timed)

    def run(self) -> int:
        """Starts, works until told to stop or unable to go on, ends; returns the exit status."""
        signals = Signals.installed()
        self._refuse_unsuitable_server()
        self._ops.bind()
        self._intake.bind()
        if self._server is not None:
            self._notifier.extend_timeout(EMBEDDED_START_SECONDS)
        try:
            self.system.start()
        except StartFailed as error:
            raise StartRefused(f"the daemon can't start: {_root_cause(error)}") from error
        self.status.start()
        self.context.traces.start()
        self._ops.serve()
        self._intake.serve()
        self._notifier.ready(self.status.summary())
        logger.info("billingd %s is up as %s", self.context.version, self.context.instance)
        try:
            gave_up = self._work(signals)
        finally:
            self._intake.close()
            self._ops.close()
            self.status.close()
        if gave_up:
            self._deregister_after_giving_up()
            return 1
        self._stop()
        return 0

    # While it works

    def _work(self, signals: Signals) -> bool:
        """The main loop; True if the tree has given up."""
        while True:
            signals.wait(LOOP_SECONDS)
            if self.system.ended is not None:
                return True
            if signals.stop:
                return False
            if signals.reload:
                signals.reload = False
                self._reload()
            if signals.dump:
                signals.dump = False
                logger.warning("stacks of all threads:\n%s", dump_stacks())
            self._attribution.look()
            self._alarm_tester.look()
            self._start_missing_couriers()
            if self.status.alive():
                self._notifier.watchdog()
            self._notifier.status(self.status.summary())

    def _reload(self) -> None:
        """SIGHUP: a good file is applied as a whole, a bad one changes nothing and is an alarm."""
        self._notifier.reloading()
        before = self.context.settings
        try:
            loaded = load(self._config_path)
            settings = apply_reload(before, loaded.settings)
            refuse_unusable_files(loaded)
            tokens = self._read_tokens(settings)
            connection = self._server_settings(settings)
            alarms = _refuse_start(lambda: alarm_settings(settings))
            self._intake.read_certificate()
        except (ConfigurationRejected, StartRefused, CannotListen) as error:
            logger.warning("the configuration on disk is rejected, what was in force stays: %s", error)
            self._tell(
                messages.ALARMS,
                ConditionActive(Code.CONFIGURATION_REJECTED, f"the file on disk is not in force: {error}"),
            )
            self._leave_outcome([str(error)], accepted=False)
        else:
            lines = [str(change) for change in changes(before, loaded.settings)]
            for line in lines:
                logger.info("configuration: %s", line)
            token, self._room_token, self._intake_token = tokens
            self.context.settings_holder.in_force = InForce(settings, token)
            self._connection, self._alarms = connection, alarms
            logs.set_level(settings.log.level)
            self._tell(messages.ALARMS, Configure(alarms))
            self._tell(messages.ALARMS, ConditionCleared(Code.CONFIGURATION_REJECTED))
            for name in (messages.BILLER, messages.ERP_GATEWAY, messages.CLOCK):
                self._tell(name, messages.Poll())
            self.status.note_reload(loaded)
            self._leave_outcome(lines or ["nothing has changed"], accepted=True)
        self._notifier.ready(self.status.summary())

    def _leave_outcome(self, lines: Sequence[str], *, accepted: bool) -> None:
        try:
            write_outcome(outcome_path(self.context.settings.state_dir), lines, accepted=accepted)
        except OSError as error:
            logger.warning("what became of the reload could not be left for `billingd reload`: %s", error)

    def _start_missing_couriers(self) -> None:
        """Starts couriers that a reload asks for; the gateway leaves those idle that it takes away."""
        wanted = self.context.settings.erp.max_in_flight
        try:
            for number in range(self.system.count_children(messages.COURIERS).specs + 1, wanted + 1):
                self.system.start_child(messages.COURIERS, courier(self.context, number))
        except SupervisionError as error:
            logger.info("a lane to the ERP was not added: %s", error)

    # The end

    def _stop(self) -> None:
        """Begins nothing new, lets what is under way end, stores it, then stops the tree in order."""
        settings = self.context.settings
        drain_seconds = settings.erp.total_timeout_seconds
        logger.info("stopping: what is under way ends, nothing new begins")
        self._notifier.stopping("draining")
        self._notifier.extend_timeout(drain_seconds + 10)
        until = self.clock.monotonic() + drain_seconds - 1
        for name in (messages.CLOCK, messages.BILLER):
            try:
                self.system.terminate_child(name)
            except SupervisionError as error:
                logger.info("while stopping: %s", error)
        self._tell(messages.ERP_GATEWAY, messages.Drain())
        while self._under_way() and self.clock.monotonic() < until:
            threading.Event().wait(0.02)
        self.system.stop(max(1.0, until - self.clock.monotonic()))
        self.context.traces.stop(TRACES_STOP_SECONDS)
        if self._server is not None:
            self._notifier.extend_timeout(EMBEDDED_STOP_SECONDS)
            self._server.stop()
        logger.info("stopped")

    def _under_way(self) -> bool:
        try:
            standing: messages.ErpStatus = self.system.ask(
                messages.ERP_GATEWAY, messages.GetErpStatus(), timeout_seconds=1.0
            )
            if standing.in_flight:
                return True
            unfinished: int = self.system.ask(messages.DB_WRITER, messages.CountPendingWrites(), timeout_seconds=1.0)
        except SupervisionError:
            return False
        # With the database away what was not stored is found again at the next start: no use in waiting for it.
        return bool(unfinished) and self.status.database_connected()

    def _deregister_after_giving_up(self) -> None:
        logger.error("the tree has given up: the process ends, to be started afresh")
        try:
            context = self.context
            with self.connect("departing") as database:
                database.run(lambda it: instances.deregister(it, context.instance, context.incarnation, "gave_up"), 5.0)
        except PersistenceError as error:
            logger.warning("this end could not be stored: %s", error)

    # Before it works

    def _make_system(self) -> System:
        settings = self.context.settings
        self._attribution = Attribution(self._tell, self.clock.monotonic, settings.supervision.window_seconds)
        spec = tree(self.context, self._make_alarms)
        if self._server is not None:
            make = partial(EmbeddedDatabase, self._server)
            embedded = ChildSpec(EMBEDDED_DATABASE, make, start_seconds=EMBEDDED_START_SECONDS, hang_seconds=None)
            spec = replace(spec, children=(embedded, *spec.children))
        listener = fan_out(log_events(logging.getLogger("billingd.supervision")), self._attribution.listen)
        return System(spec, clock=self.clock, randomness=self.context.randomness, on_event=listener)

    def _test_alarms(self) -> list[chain_test.Arrival]:
        tell, database = partial(self._tell, messages.ALARMS), partial(self.connect, "alarm test")
        return chain_test.run(tell, self.snapshot, self._spool_path, database, self._alarms.webhook, self.clock)

    @property
    def _spool_path(self) -> Path:
        return self.context.settings.state_dir / "alarms.jsonl"

    def _make_alarms(self) -> AlarmActor:
        return AlarmActor(
            instance=self.context.instance,
            spool_path=self._spool_path,
            settings=self._alarms,
            database=self.connect("alarms"),
            now=self.context.now,
            clock=self.clock,
            records=self._record_signs,
            snapshot=self.snapshot,
        )

    def _tell(self, name: str, message: object) -> None:
        messages.try_tell(self.system.tell, name, message)

    def _server_settings(self, settings: Settings) -> ConnectionSettings | None:
        """How to reach the configured server, its password read now; None with the embedded one."""
        return None if self._server else _refuse_start(lambda: server_settings(settings, "check"))

    def _refuse_unsuitable_server(self) -> None:
        """Raises StartRefused for a server that can never serve; one that is away is waited for by the actors."""
        if self._connection is None:
            return
        seconds = min(START_CHECK_SECONDS, self._connection.connect_timeout_seconds)
        with Database(replace(self._connection, connect_timeout_seconds=seconds)) as opened:
            try:
                opened.refuse_shared_backend()
            except ServerUnsuitable as error:
                raise StartRefused(str(error)) from error
            except PersistenceError as error:
                logger.debug("the database is not there yet: %s", error)

    @staticmethod
    def _read_tokens(settings: Settings) -> tuple[str | None, ...]:
        """Those of the ERP, of the control room and of whoever posts."""
        found = {key: _refuse_start(partial(token, settings, key)) for key in TOKEN_KEYS}
        logs.hide(*found.values(), _refuse_start(partial(database_password, settings)))
        tokens = (found["erp.token_file"], found["ops.token_file"], found["intake.token_file"])
        return tuple(each.get_secret_value() if each else None for each in tokens)


def _refuse_start(make: Callable[[], T]) -> T:
    """What `make` returns; an error of the configuration that only shows here becomes StartRefused."""
    try:
        return make()
    except (SecretUnreadable, ConfigurationRejected, ValueError) as error:
        raise StartRefused(str(error)) from error


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
