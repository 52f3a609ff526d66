"""What of this machine keeps a request here is told from what the ERP does."""

import errno
import socket
from contextlib import closing
from pathlib import Path

import pytest

from altibiz.client import TrustUnusable
from billing.erp_answers import Outcome, OutcomeKind
from testkit.ports import free_port
from tests.support.altibiz_samples import INVOICE, client_of


def ask(url: str) -> Outcome:
    with closing(client_of(url)) as client:
        return client.ask(INVOICE, None)


def nobody() -> str:
    """An address on which nobody listens."""
    return f"http://127.0.0.1:{free_port()}/api/v1"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_item_8_without_a_socket_nothing_was_sent(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(number, "none left")

    url = nobody()
    monkeypatch.setattr("network.deadline.socket.socket", refuse)
    outcome = ask(url)
    assert (outcome.kind, outcome.local_fault, outcome.request_left) == (OutcomeKind.NOT_SENT, "resources", False)
    assert "none left" in outcome.detail


def test_item_8_without_a_thread_to_resolve_with_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("network.resolver.threading.Thread.start", refuse)
    outcome = ask("http://erp.example/api/v1")
    assert (outcome.kind, outcome.local_fault) == (OutcomeKind.NOT_SENT, "resources")


def test_item_8_what_the_erp_does_is_not_taken_for_a_fault_of_this_machine() -> None:
    outcome = ask(nobody())
    assert (outcome.kind, outcome.local_fault) == (OutcomeKind.UNREACHABLE, None)


def test_item_8_an_unusable_file_of_certificates_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrustUnusable, match="cannot use the certificate file"):
        client_of(nobody(), ca_file=tmp_path)
