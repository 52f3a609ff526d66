"""What the settings accept and refuse, value by value and together."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.keys import KEYS, nested, shown_values, values
from config.settings import Settings
from config.values import TcpAddress, UnixAddress, parse_listen
from network.urls import masked_url

# docs/spec/interfaces.md, "Configuration": each key and whether SIGHUP changes it (a *).
TABLE_TEXT = """
state_dir instance database.url database.password_file database.connect_timeout_seconds
database.listen database.password_exchange database.statement_timeout_seconds database.lock_timeout_seconds
erp.base_url erp.token_file* erp.ca_file erp.connect_timeout_seconds*
erp.read_timeout_seconds* erp.total_timeout_seconds* erp.max_in_flight*
erp.poll_interval_seconds* erp.retry.base_seconds* erp.retry.max_seconds* erp.breaker.failure_threshold*
erp.breaker.reset_seconds* erp.breaker.success_threshold* erp.max_incorrect_answers* billing.time_zone
billing.schedule* billing.approval* billing.hold_remarks* billing.rounding*
billing.look_every_seconds* billing.readings_grace_seconds*
billing.min_coverage_percent* billing.batch_size* work.max_attempts work.lease_seconds
supervision.max_restarts supervision.window_seconds supervision.backoff_base_seconds
supervision.backoff_max_seconds supervision.hang_seconds alarms.raise_within_seconds* alarms.overdue_seconds*
alarms.quiet_seconds* alarms.rules* alarms.webhook_url* alarms.webhook_token_file* alarms.webhook_ca_file*
alarms.heartbeat_url* alarms.heartbeat_seconds* alarms.self_test*
ops.listen ops.token_file* ops.token_for_all* ops.hosts*
intake.inbox intake.settle_seconds* intake.listen intake.token_file* intake.certificate_file intake.key_file
intake.max_body_bytes* intake.max_waiting_bytes* intake.expected_every_seconds.abb_b2x*
intake.expected_every_seconds.schneider_iem3xxx*
telemetry.otlp_endpoint log.level* log.format
"""
TABLE = TABLE_TEXT.split()

DEFAULTS = {
    "database.url": "embedded",
    "database.listen": "auto",
    "database.password_exchange": "scram",
    "database.connect_timeout_seconds": 5,
    "database.statement_timeout_seconds": 30,
    "database.lock_timeout_seconds": 5,
    "erp.connect_timeout_seconds": 5,
    "erp.read_timeout_seconds": 20,
    "erp.total_timeout_seconds": 30,
    "erp.max_in_flight": 16,
    "erp.poll_interval_seconds": 10,
    "erp.retry.base_seconds": 1,
    "erp.retry.max_seconds": 300,
    "erp.breaker.failure_threshold": 5,
    "erp.breaker.reset_seconds": 15,
    "erp.breaker.success_threshold": 2,
    "erp.max_incorrect_answers": 5,
    "billing.time_zone": "Europe/Zagreb",
    "billing.schedule": "5 1 1 * *",
    "billing.approval": "none",
    "billing.hold_remarks": False,
    "billing.rounding": "half_up",
    "billing.look_every_seconds": 300,
    "billing.readings_grace_seconds": 86400,
    "billing.min_coverage_percent": "95",
    "billing.batch_size": 500,
    "work.max_attempts": 3,
    "work.lease_seconds": 60,
    "supervision.max_restarts": 10,
    "supervision.window_seconds": 60,
    "supervision.backoff_base_seconds": 0.1,
    "supervision.backoff_max_seconds": 10,
    "supervision.hang_seconds": 60,
    "alarms.raise_within_seconds": 5,
    "alarms.overdue_seconds": 86400,
    "alarms.quiet_seconds": 3600,
    "alarms.heartbeat_seconds": 60,
    "ops.listen": "127.0.0.1:9464",
    "intake.settle_seconds": 5,
    "intake.listen": "off",
    "intake.max_body_bytes": 268_435_456,
    "intake.max_waiting_bytes": 1_073_741_824,
    "log.level": "info",
    "log.format": "auto",
}


def settings(**flat: Any) -> Settings:
    return Settings.model_validate(nested({name.replace("__", "."): value for name, value in flat.items()}))


def test_the_keys_are_those_that_others_rely_on() -> None:
    assert sorted(KEYS) == sorted(name.removesuffix("*") for name in TABLE)


def test_the_keys_that_take_effect_on_sighup_are_those_with_a_star() -> None:
    assert {name for name, key in KEYS.items() if key.live} == {n[:-1] for n in TABLE if n.endswith("*")}


def test_the_defaults_are_the_documented_ones() -> None:
    shown = shown_values(Settings())
    assert {name: shown[name] for name in DEFAULTS} == DEFAULTS


def test_the_name_of_every_duration_says_its_unit() -> None:
    """It is the only place that does."""
    numbers = {name for name, value in values(Settings()).items() if isinstance(value, float)}
    assert {name for name in numbers if not name.endswith("_seconds")} == set()


def test_settings_survive_the_way_through_their_flat_table() -> None:
    made = settings(erp__total_timeout_seconds=2.5, database__url="postgresql://u:p@h/n")
    assert Settings.model_validate(nested(values(made))) == made


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("erp.total_timeout_seconds", 0),
        ("erp.total_timeout_seconds", True),
        ("erp.total_timeout_seconds", "30"),
        ("erp.total_timeout_seconds", float("nan")),
        ("erp.total_timeout_seconds", float("inf")),
        ("database.statement_timeout_seconds", 0.0001),
        ("erp.max_in_flight", 0),
        ("erp.max_in_flight", 2.0),
        ("erp.max_in_flight", True),
        ("billing.min_coverage_percent", 100.5),
        ("billing.min_coverage_percent", True),
        ("billing.min_coverage_percent", "95"),
        ("billing.time_zone", "Europe/Zagrebb"),
        ("billing.time_zone", "Europe"),
        ("billing.time_zone", "../etc/passwd"),
        ("billing.approval", "maybe"),
        ("billing.schedule", "0 0 30 2 *"),
        ("billing.schedule", "0 0 31 4,6 *"),
        ("billing.schedule", "61 0 1 * *"),
        ("billing.schedule", "0 0 1 1 * *"),
        ("billing.schedule", ""),
        ("erp.base_url", "ftp://erp.example/api"),
        ("erp.base_url", "erp.example/api"),
        ("erp.base_url", "https://user:pw@erp.example/api"),
        ("erp.base_url", "https://erp.example/api?token=x"),
        ("erp.base_url", "https://erp.example:99999/api"),
        ("database.url", "mysql://u@h/n"),
        ("database.url", "postgresql://u@h"),
        ("database.url", "postgresql://h/n"),
        ("database.url", "Embedded"),
        ("database.url", "postgresql://u@h/n?password=x"),
        ("database.url", "postgresql://u@h/n?sslmode=maybe"),
        ("ops.listen", "9464"),
        ("ops.listen", "127.0.0.1:70000"),
        ("ops.listen", "unix:relative"),
        ("log.level", "loud"),
        ("instance", ""),
        ("instance", "two\nlines"),
    ],
)
def test_a_value_that_cannot_work_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(nested({key: value}))
    assert key in {".".join(map(str, detail["loc"])) for detail in refused.value.errors()}


@pytest.mark.parametrize(
    "url",
    [
        "embedded",
        "postgresql://billing@db.example:5432/billing",
        "postgresql://billing@/billing?host=/run/postgresql",
        "postgresql://billing:secret@[::1]:5432/billing?sslmode=verify-full",
    ],
)
def test_a_database_url_is_taken_as_it_is(url: str) -> None:
    assert settings(database__url=url).database.url.get_secret_value() == url


def test_coverage_is_a_decimal_with_the_digits_that_were_written() -> None:
    assert settings(billing__min_coverage_percent=97.3).billing.min_coverage_percent == Decimal("97.3")


def test_a_slash_at_the_end_of_the_erps_address_makes_no_difference() -> None:
    assert settings(erp__base_url="https://erp.example/api/v1/").erp.base_url == "https://erp.example/api/v1"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("off", None),
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("[::1]:9464", TcpAddress("::1", 9464)),
        ("unix:/run/billingd/ops", UnixAddress(Path("/run/billingd/ops"))),
    ],
)
def test_listen_addresses(text: str, address: TcpAddress | UnixAddress | None) -> None:
    assert parse_listen(text) == address


@given(day=st.integers(1, 31), month=st.integers(1, 12), weekday=st.integers(0, 6) | st.just("*"))
def test_an_accepted_schedule_ticks(day: int, month: int, weekday: int | str) -> None:
    expression = f"5 1 {day} {month} {weekday}"
    try:
        settings(billing__schedule=expression)
    except ValidationError:
        assert day > {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31)
    else:
        assert next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("flat", "key"),
    [
        ({"work.lease_seconds": 59}, "work.lease_seconds"),
        ({"erp.total_timeout_seconds": 5, "work.lease_seconds": 19}, "work.lease_seconds"),
        ({"supervision.hang_seconds": 39, "database.statement_timeout_seconds": 1}, "supervision.hang_seconds"),
        ({"supervision.hang_seconds": 39, "erp.total_timeout_seconds": 1}, "supervision.hang_seconds"),
        ({"erp.retry.max_seconds": 0.5}, "erp.retry.max_seconds"),
        ({"supervision.backoff_max_seconds": 0.05}, "supervision.backoff_max_seconds"),
    ],
)
def test_values_that_do_not_go_together_are_refused(flat: dict[str, float], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Settings.model_validate(nested(flat))


def test_the_shortest_lease_and_hang_deadline_are_accepted() -> None:
    settings(erp__total_timeout_seconds=5, work__lease_seconds=20, supervision__hang_seconds=40)
    settings(erp__total_timeout_seconds=40, work__lease_seconds=80, supervision__hang_seconds=50)


def test_an_alarm_rule_may_only_name_groups_of_its_patterns() -> None:
    rule = {"pattern": r"disk (?P<disk>\w+) is full", "code": "disk_full", "key": "{disk}"}
    assert settings(alarms__rules=[rule]).alarms.rules[0].severity == "major"
    with pytest.raises(ValidationError, match="other"):
        settings(alarms__rules=[{**rule, "key": "{other}"}])
    with pytest.raises(ValidationError, match="clear_pattern"):
        settings(alarms__rules=[{**rule, "clear_pattern": "has room again"}])


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_a_password_is_shown_nowhere(tail: str) -> None:
    password = "geheim" + tail
    made = settings(database__url=f"postgresql://u:{password}@h:5432/n")
    shown = [repr(made), str(made), made.model_dump_json(), str(shown_values(made))]
    assert not [text for text in shown if password in text]


def test_a_refused_url_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(ValidationError) as refused:
        settings(database__url="postgresql://u:geheim@h:port/n")
    assert "geheim" not in str(refused.value)


def test_masking_hides_a_password_with_the_urls_own_signs_in_it() -> None:
    assert masked_url("postgresql://u:p@w:x@h:5432/n") == "postgresql://u:***@h:5432/n"


def test_masking_leaves_a_url_without_password_alone() -> None:
    assert masked_url("postgresql://u@h:5432/n") == "postgresql://u@h:5432/n"
