"""A reload and a courier, in every order of their looks at what is in force: what is used belongs together."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from unittest.mock import MagicMock

import pytest
import yaml

from actors.context import ActorContext, InForce, SettingsHolder
from actors.courier import Courier
from actors.messages import SendRequest
from altibiz.client import AltibizClient
from billing.erp_answers import Outcome, OutcomeKind
from config.settings import Settings
from daemon.lifecycle import Daemon
from persistence.invoices.claims import Delivery
from tests.support.actor_context import make_context
from tests.support.interleaving import Run, every_order, pause
from tests.support.supervision import ActorHarness

OLD, NEW = (60.0, "token-of-old"), (61.0, "token-of-new")
REQUESTS = 3


class GatedHolder(SettingsHolder):
    """Each look at what is in force, and each change of it, is a step."""

    def __getattribute__(self, name: str) -> Any:
        pause()
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        pause()
        super().__setattr__(name, value)


class Recorded:
    """A client that notes with which settings and token each request goes."""

    distrusts = False

    def __init__(self, sent: list[tuple[float, str]], used: tuple[float, str]) -> None:
        self._sent, self._used = sent, used

    def offer(self, *_: Any, **__: Any) -> Outcome:
        self._sent.append(self._used)
        return Outcome(OutcomeKind.UNREACHABLE, "PUT")

    def close(self) -> None: ...


def context_of(folder: Path, poll_interval_seconds: float, token: str) -> ActorContext:
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    configuration = {"instance": "here", "state_dir": str(folder), "database": {"url": "postgresql://u@127.0.0.1/x"}}
    erp: dict[str, Any] = {"base_url": "http://erp.example", "token_file": str(folder / "token")}
    erp |= {"poll_interval_seconds": poll_interval_seconds}
    (folder / "billingd.yaml").write_text(yaml.safe_dump({**configuration, "erp": erp}))
    context = make_context("postgresql://u@127.0.0.1/x")
    context.settings_holder.__class__ = GatedHolder
    context.settings_holder.in_force = InForce(Settings.model_validate({**configuration, "erp": erp}), token)
    return context


def reload(context: ActorContext, folder: Path) -> None:
    """The daemon's own, without the daemon."""
    daemon = MagicMock()
    daemon.context, daemon._config_path, daemon._read_tokens = context, folder / "billingd.yaml", Daemon._read_tokens
    Daemon._reload(daemon)
    assert not daemon._leave_outcome.call_args or daemon._leave_outcome.call_args.kwargs["accepted"]


def request(action: Literal["offer"] = "offer") -> SendRequest:
    return SendRequest(Delivery("u.2026-08.1", 1, action, "sent", Decimal(1), b"{}", 0, 0, 0), 0.0, 0)


def explore(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    sent: list[tuple[float, str]] = []

    def client(erp: Any, token: str, **_: Any) -> Recorded:
        return Recorded(sent, (erp.poll_interval_seconds, token))

    monkeypatch.setattr(AltibizClient, "from_settings", client)
    last: list[ActorHarness] = []

    def sessions() -> dict[str, Callable[[], None]]:
        sent.clear()
        context = context_of(folder, *OLD)
        context_of(folder, *NEW)  # the file that the reload reads
        harness = ActorHarness("courier-1", lambda: Courier(context))
        last[:] = [harness]

        def work() -> None:
            for _ in range(REQUESTS):
                harness.actor.on_receive(request())

        return {"courier": work, "reload": lambda: reload(context, folder)}

    def judge(run: Run) -> None:
        assert not run.failures, run.failures
        last[0].actor.on_receive(request())
        assert set(sent) <= {OLD, NEW}, f"after {run.turns}: {sent}"
        assert sent[-1] == NEW, f"after {run.turns}: what is in force is not used"

    return every_order(None, sessions, judge)


def test_no_order_mixes_two_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = explore(monkeypatch, tmp_path)
    print(f"reload, courier: all {tried} orders")
    assert tried >= 35


def test_settings_and_token_read_apart_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def current_client(self: Any) -> Any:
        erp, token = self._context.settings_holder.in_force.settings.erp, self._context.settings_holder.in_force.token
        if self._made_with is not erp:
            self._client = AltibizClient.from_settings(erp, token)
            self._made_with = erp
        return self._client

    monkeypatch.setattr(Courier, "_current_client", current_client)
    with pytest.raises(AssertionError, match="after"):
        explore(monkeypatch, tmp_path)
