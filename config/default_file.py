"""Writes the commented default file from the settings' own descriptions."""

import json
import textwrap
from typing import Any

from config.keys import KEYS, Key, section_of, shown
from config.sections import Section
from config.settings import Settings

_WIDTH = 100
_HEAD = """\
# The configuration of billingd. Every key stands here with its default; a key whose line begins with #
# has none, or takes it from its surroundings. Unknown keys are errors: `billingd check-config` names them.
# Durations are in seconds and may be fractions. `systemctl reload billingd` applies the keys marked
# [reload]; the others wait for a restart.
"""
# What stands behind the # of a key without a default of its own.
_EXAMPLES = {
    "state_dir": "/var/lib/billingd",
    "instance": "billing-1",
    "database.password_file": "/etc/billingd/database-password",
    "erp.base_url": "https://erp.example/api/v1",
    "erp.token_file": "/etc/billingd/erp-token",
    "erp.ca_file": "/etc/billingd/erp-ca.pem",
    "alarms.webhook_url": "http://alertmanager.example:9093",
    "alarms.webhook_token_file": "/etc/billingd/webhook-token",
    "alarms.webhook_ca_file": "/etc/billingd/webhook-ca.pem",
    "alarms.self_test": '"0 9 * * *"',
    "alarms.heartbeat_url": "https://dead-man.example/ping/0fc9a0e2",
    "ops.token_file": "/etc/billingd/ops-token",
    "ops.hosts": "[billing.example]",
    "intake.inbox": "/var/lib/billingd-inbox",
    "intake.token_file": "/etc/billingd/intake-token",
    "intake.certificate_file": "/etc/billingd/intake-certificate.pem",
    "intake.key_file": "/etc/billingd/intake-key.pem",
    "intake.expected_every_seconds.abb_b2x": "86400",
    "intake.expected_every_seconds.schneider_iem3xxx": "86400",
}


def default_file() -> str:
    """Return the default file: it loads to the built-in defaults."""
    return "\n".join([_HEAD, *_section(Settings, "", 0)]) + "\n"


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _section(model: type[Section], prefix: str, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            lines += [*_comment(str(field.description), indent), f"{indent}{name}:"]
            lines += _section(section, f"{prefix}{name}.", depth + 1)
        else:
            lines += _key(KEYS[prefix + name], name, indent)
        if depth == 0:
            lines.append("")
    return lines if depth else lines[:-1]


def _key(key: Key, name: str, indent: str) -> list[str]:
    lines = _comment(key.description + (" [reload]" if key.live else ""), indent)
    if key.name in _EXAMPLES:
        return [*lines, f"{indent}# {name}: {_EXAMPLES[key.name]}"]
    return [*lines, f"{indent}{name}: {_scalar(key.field.default)}"]


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = shown(value)
    return text if isinstance(text, str) else json.dumps(text)
