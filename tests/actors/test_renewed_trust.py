"""Trust that is renewed under a courier: it is read again after a certificate that was not trusted, and on a reload."""

import shutil
from pathlib import Path

import pytest

from actors.context import InForce
from actors.courier import Courier
from actors.messages import ExchangeFinished, Ping
from altibiz.fake.server import FakeAltibiz
from billing.erp_answers import OutcomeKind
from config.settings import Settings
from tests.support.actor_context import make_context
from tests.support.altibiz_samples import CERTIFICATE, KEY
from tests.support.sample import ROOT
from tests.support.supervision import ActorHarness

OTHER = ROOT / "testkit" / "certificates" / "trusted.pem"


def ping(harness: ActorHarness) -> OutcomeKind:
    harness.told.clear()
    harness.actor.on_receive(Ping(1))
    (finished,) = [message for _, message in harness.told if isinstance(message, ExchangeFinished)]
    return finished.outcome.kind


@pytest.mark.parametrize("distrusted_first", [True, False])
def test_a_renewed_ca_file_needs_no_restart(tmp_path: Path, distrusted_first: bool) -> None:
    ca_file = tmp_path / "ca.pem"
    with FakeAltibiz(certificate_file=CERTIFICATE, key_file=KEY) as erp:
        context = make_context(
            "postgresql://nobody@nowhere/none", erp={"base_url": erp.base_url, "ca_file": str(ca_file)}
        )
        harness = ActorHarness("courier-1", lambda: Courier(context))
        harness.actor.on_start()
        shutil.copy(OTHER if distrusted_first else CERTIFICATE, ca_file)
        if distrusted_first:
            assert ping(harness) is OutcomeKind.UNREACHABLE
            shutil.copy(CERTIFICATE, ca_file)
            assert ping(harness) is OutcomeKind.BOOKED
        else:
            assert ping(harness) is OutcomeKind.BOOKED
            shutil.copy(OTHER, ca_file)
            assert ping(harness) is OutcomeKind.BOOKED
            context.settings_holder.in_force = InForce(Settings.model_validate(context.settings.model_dump()))
            assert ping(harness) is OutcomeKind.UNREACHABLE
        harness.actor.on_stop()
