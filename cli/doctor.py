"""`billingd doctor`: looks at all that billing rests on, and says what is well, what is wrong and what to do."""

import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from altibiz.client import TrustUnusable, trust
from billing.erp_answers import Outcome, OutcomeKind
from cli.erp import erp_client
from cli.invocation import AsJson, CommandFailed, config_path, installed_version
from cli.ops_client import NoAnswer, fetch_status
from cli.output import print_json, print_line
from config.files import refuse_unusable_files, unsafe
from config.load import ConfigurationRejected, load
from config.settings import Settings
from daemon.database import present_settings, seen_server
from network.resolver import resolve
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError, SchemaMismatch, ServerUnsuitable
from persistence.connection.server_facts import moved_collation_keys, server_facts
from persistence.embedded.server import EmbeddedServer
from persistence.invoices.overview import pause_in_force
from persistence.schema.migrate import check_schema
from persistence.schema.rights import lacking_rights
from supervision.clock import SystemClock
from web.formatting import cell

FREE_BYTES = (100 * 2**20, 2**30)
CLOCKS_APART_SECONDS = (-60.0, -2.0)
CERTIFICATE_DAYS = (3, 30)


class Health(StrEnum):
    """How one thing is; `unknown`: it can't be found out, or not from here."""

    WELL = "well"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `advice` says what to do, where something is to be done."""

    name: str
    health: Health
    what: str
    advice: str | None = None


def _checks(config_file: Path | None) -> Iterator[Check]:
    """All checks, in order; each stands for itself, so what is wrong with one keeps no other from being made."""
    try:
        loaded = load(config_file)
    except ConfigurationRejected as error:
        where = error.path or "the configuration"
        advice = "mend it; `billingd check-config` checks it; nothing else can be looked at before"
        for problem in error.problems:
            yield Check("configuration", Health.BAD, f"{where}: {problem}", advice)
        return
    settings, where = loaded.settings, loaded.path or "built-in defaults"
    yield Check("configuration", Health.WELL, f"{where}, SHA-256 {(loaded.sha256 or 'none')[:12]}")
    try:
        refuse_unusable_files(loaded, for_service=True)
        yield from (Check("security", Health.WARNING, str(each)) for each in unsafe(loaded))
    except ConfigurationRejected as error:
        yield from (Check("files", Health.BAD, str(each), "mend the file or its key") for each in error.problems)
    yield from _state_dir(settings.state_dir)
    yield _time_zone(settings.billing.time_zone)
    yield from _database(settings)
    yield from _erp(settings)
    yield _daemon(settings)
    url = settings.alarms.webhook_url
    none = "none is configured; alarms go to the log and the database"
    what = f"{url} is not asked: `billingd alarms test` tries it" if url else none
    yield Check("webhook", Health.UNKNOWN, what)
    beats = f"each {settings.alarms.heartbeat_seconds:g} s; `billingd status` shows whether it is taken"
    silent = "none is configured: nobody hears of a daemon that is silent (key alarms.heartbeat_url)"
    yield Check("heartbeat", Health.UNKNOWN, beats if settings.alarms.heartbeat_url else silent)


def _state_dir(path: Path) -> Iterator[Check]:
    name = "state directory"
    if not path.is_dir():
        parent = next(each for each in (path, *path.absolute().parents) if each.exists())
        may = os.access(parent, os.W_OK | os.X_OK)
        health, advice = (Health.UNKNOWN, None) if may else (Health.BAD, f"make {path} for the daemon's user")
        yield Check(name, health, f"{path} is not there yet; `billingd run` makes it", advice)
        path = parent
    elif os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Check(name, Health.WELL, f"{path} can be written")
    else:
        yield Check(name, Health.BAD, f"{path} can't be written by this user", "give it to the daemon's user")
    free_bytes = shutil.disk_usage(path).free
    advice = "make room on its file system, or move state_dir"
    what = f"{free_bytes / 2**30:.1f} GiB where {path} is"
    yield _graded("free disk", free_bytes, FREE_BYTES, what, advice)


def _graded(name: str, value: float, limits: tuple[float, float], what: str, advice: str) -> Check:
    """Bad below the first limit, a warning below the second."""
    least, enough = limits
    if value >= enough:
        return Check(name, Health.WELL, what)
    return Check(name, Health.WARNING if value >= least else Health.BAD, what, advice)


def _time_zone(key: str) -> Check:
    try:
        zone = ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError):
        return Check("time zone data", Health.BAD, f"no data for {key}", "install tzdata")
    winter, summer = (datetime(2026, month, 1, tzinfo=zone).utcoffset() for month in (1, 7))
    tzdata = installed_version("tzdata")
    source = f"tzdata {tzdata} beside the system's" if tzdata else "the system's"
    offsets = f"{winter} in January, {summer} in July" if winter != summer else f"{winter} all year"
    return Check("time zone data", Health.WELL, f"{key}: {offsets} ({source})")


# The database


def _database(settings: Settings) -> Iterator[Check]:
    try:
        if settings.database.embedded and EmbeddedServer(settings.state_dir).pid is None:
            yield Check("database", Health.UNKNOWN, "embedded, and not running: `billingd run` starts it")
            return
        connection_settings = present_settings(settings, "doctor")
    except (OSError, ValueError, RuntimeError) as error:
        yield Check("database", Health.BAD, str(error), "mend database.url or the password's file")
        return
    try:
        with Database(connection_settings, seen_server=seen_server(settings)) as opened:
            yield from _server(opened)
    except PersistenceError as error:
        unsuitable = isinstance(error, ServerUnsuitable)
        advice = None if unsuitable else "start the server, or mend database.url, its network and password"
        yield Check("database", Health.BAD, str(error), advice)


def _server(opened: Database) -> Iterator[Check]:
    where, pooled = opened.settings.where, opened.refuse_shared_backend()
    with opened.transaction() as connection:
        server = server_facts(connection)
        wall = SystemClock().wall()
    yield Check("database", Health.WELL, f"PostgreSQL {server.version} at {where}")
    if opened.settings.tls_mode != "verify-full" and not isinstance(opened.settings.hosts[0], Path):
        advice = "set sslmode=verify-full in database.url: only then is it proved that it is the right server"
        yield Check("database TLS", Health.WARNING, f"sslmode={opened.settings.tls_mode}", advice)
    if pooled:
        yield Check("sessions", Health.WELL, "a pooler passes them on whole")
    if server.encoding != "UTF8":
        yield Check("database encoding", Health.BAD, server.encoding, "make the database with encoding UTF8")
    if server.free < 10:
        advice = "raise max_connections of the server"
        yield Check("connections", Health.WARNING, f"{server.free} slots are free", advice)
    ahead_seconds = (server.now - wall).total_seconds()
    apart_seconds = abs(ahead_seconds)
    what = f"the database's is {apart_seconds:.1f} s {'ahead of' if ahead_seconds > 0 else 'behind'} this machine's"
    yield _graded("clock", -apart_seconds, CLOCKS_APART_SECONDS, what, "let both machines keep time by NTP")
    try:
        with opened.reading() as reader:
            check_schema(reader)
    except SchemaMismatch as error:
        yield Check("schema", Health.BAD, str(error), "run `billingd db upgrade`")
        return
    yield Check("schema", Health.WELL, "it is this program's")
    with opened.transaction() as connection:
        lacking = ", ".join(lacking_rights(connection))
        moved = moved_collation_keys(connection, server.major)
    if moved is not None:
        what = f"the operating system sorts text otherwise now; {', '.join(moved) or 'no key'} depends on it"
        advice = "REINDEX the database, then ALTER DATABASE … REFRESH COLLATION VERSION"
        yield Check("collation", Health.BAD if moved else Health.WELL, what, advice if moved else None)
    if lacking:
        yield Check("rights", Health.BAD, f"its user lacks {lacking}", "run what `billingd db grants` prints")
    else:
        yield Check("rights", Health.WELL, "its user may do all that the daemon does: each was tried and rolled back")
    with opened.reading() as reader:
        paused = pause_in_force(reader)
    if paused is not None:
        what = f"paused until {paused.until:%Y-%m-%d %H:%MZ} by {paused.by}: {paused.reason}"
        yield Check("delivery", Health.WARNING, what, "run `billingd resume` when the reason is over")


# The ERP


def _erp(settings: Settings) -> Iterator[Check]:
    if settings.erp.base_url is None:
        yield Check("ERP", Health.BAD, "no address is configured", "set erp.base_url")
        return
    url = urlsplit(settings.erp.base_url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        found = {address[0] for _, address in resolve(host, port, settings.erp.connect_timeout_seconds)}
    except OSError as error:
        what = f"{host} is not resolved: {(error.strerror or str(error)).lower()}"
        yield Check("ERP name", Health.BAD, what, "mend erp.base_url or the name service")
        return
    yield Check("ERP name", Health.WELL, f"{host} is {', '.join(sorted(map(str, found)))}")
    if url.scheme == "https":
        yield _certificate(settings, host, port)
    yield _erp_answer(settings)


def _certificate(settings: Settings, host: str, port: int) -> Check:
    try:
        context = trust(settings.erp.ca_file)
        timeout_seconds = settings.erp.connect_timeout_seconds
        with (
            socket.create_connection((host, port), timeout_seconds) as raw,
            context.wrap_socket(raw, server_hostname=host) as secured,
        ):
            ends = (secured.getpeercert() or {}).get("notAfter")
    except (OSError, TrustUnusable) as error:
        return Check("ERP TLS", Health.BAD, f"not accepted: {error}", "mend erp.ca_file, or the ERP's certificate")
    if not isinstance(ends, str):
        return Check("ERP TLS", Health.UNKNOWN, "accepted; its certificate's end is not said")
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    days = (until - SystemClock().wall()).days
    what = f"accepted; the certificate ends on {until:%Y-%m-%d}, in {days} days"
    return _graded("ERP TLS", days, CERTIFICATE_DAYS, what, "have the ERP's certificate renewed")


def _erp_answer(settings: Settings) -> Check:
    """Asks the ERP for one page of bookings, which changes nothing."""
    begun = time.monotonic()
    try:
        with erp_client(settings) as client:
            answer = client.page(limit=1)
    except CommandFailed as error:
        return Check("ERP", Health.BAD, str(error), "mend erp.base_url or the token's file")
    seconds = time.monotonic() - begun
    if not isinstance(answer, Outcome):
        token = "takes our token" if settings.erp.token_file else "asks for no token"
        return Check("ERP", Health.WELL, f"{settings.erp.base_url} answers in {seconds:.2f} s and {token}")
    advice = {
        OutcomeKind.CREDENTIALS: "put a valid token into the file of erp.token_file",
        OutcomeKind.UNREACHABLE: "start the ERP, or mend the network, the name or the certificate",
        OutcomeKind.NOT_CONTRACT: "mend erp.base_url: another server answers there",
        OutcomeKind.NONSENSE: "mend erp.base_url: what answers there is not the ERP's interface",
    }.get(answer.kind, "ask whoever runs the ERP")
    return Check("ERP", Health.BAD, f"{settings.erp.base_url}: {answer.kind}: {answer.detail}", advice)


# The daemon


def _daemon(settings: Settings) -> Check:
    try:
        document = fetch_status(settings)
    except NoAnswer as error:
        advice = "start it with `systemctl start billingd`, or see `billingd status`"
        return Check("daemon", Health.UNKNOWN if settings.ops.address is None else Health.WARNING, str(error), advice)
    health = Health.WELL if document.get("well") else Health.WARNING
    return Check("daemon", health, str(document["verdict"]), None if health is Health.WELL else "see `billingd status`")


def doctor(context: typer.Context, as_json: AsJson = False) -> int:
    """Look at configuration, state directory, database, ERP and daemon; changes nothing. 1 if anything is bad."""
    checks: list[Check] = []
    for check in _checks(config_path(context)):
        checks.append(check)
        if not as_json:
            print_line(f"{check.health.value:<8} {check.name}: {cell(check.what)}")
            if check.advice:
                print_line(f"{'':<8} → {cell(check.advice)}")
    if as_json:
        print_json([asdict(each) for each in checks])
    return 1 if any(check.health is Health.BAD for check in checks) else 0
