"""What is made from the catalogue for people and other programs.

`python -m alarming.documents FOLDER [NAME...]` writes these documents, or all of them, into a folder.
"""

import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import yaml

from alarming.catalogue import CATALOGUE, ClearRule, ClearScope, Entry, Text

_WIDTH = 100
_MAKE_ANEW = "Made from alarming/catalogue.yaml by `python -m alarming.documents`; don't edit."
_CROATIAN_LABELS = {"effect": "Posljedica", "action": "Što učiniti", "cleared": "Prestaje"}
_ENGLISH_LABELS = {"effect": "Effect", "action": "What to do", "cleared": "Cleared by"}


def markdown() -> str:
    """The page docs/alarms.md."""
    head = [
        "# Alarms",
        "",
        f"<!-- {_MAKE_ANEW} -->",
        "",
        "Identity of an alarm is code and key. It is raised, updated while it goes on counting, and cleared; each is a",
        "log line with the fields `BILLINGD_ALARM_CODE`, `_KEY`, `_SEVERITY`, `_STATE` and `_ID`. What comes back",
        "within ten minutes is the same alarm again, and is then held the longer before it is cleared.",
        "",
        "| code | severity | key | stands while |",
        "| --- | --- | --- | --- |",
    ]
    table = [
        f"| [`{entry.code}`](#{entry.code}) | {entry.severity} | {'period ‡' if entry.by_period else 'instance'} "
        f"| {_in_a_sentence(entry.english.meaning)} |"
        for entry in CATALOGUE.values()
    ]
    sections = [line for entry in CATALOGUE.values() for line in _section(entry)]
    return "\n".join([*head, *table, "", *sections, _RULES_PAGE])


def journal_catalogue(*, croatian: bool) -> str:
    """The message catalogue of which `journalctl -x` shows the entries; the file's name says its language."""
    parts = [f"# {_MAKE_ANEW}\n"]
    for entry in CATALOGUE.values():
        text, labels = (entry.croatian, _CROATIAN_LABELS) if croatian else (entry.english, _ENGLISH_LABELS)
        parts.append(_journal_entry(entry, text, labels))
    return "\n".join(parts)


def prometheus_rules() -> str:
    """Alerting rules on the metric `billingd_alarm_standing`, and one for a daemon that says nothing any more."""
    rules: list[Mapping[str, object]] = [
        {
            "alert": f"billingd_{entry.code}",
            "expr": f'max by (code, key, severity) (billingd_alarm_standing{{code="{entry.code}"}}) > 0',
            "labels": {"severity": entry.severity.value},
            "annotations": {
                "summary": f"{entry.english.title} ({{{{ $labels.key }}}})",
                "description": f"{entry.english.meaning} {entry.english.effect}",
                "action": entry.english.action,
            },
        }
        for entry in CATALOGUE.values()
    ]
    rules.append(
        {
            "alert": "billingd_silent",
            "expr": 'up{job="billingd"} == 0 or absent(up{job="billingd"})',
            "for": "2m",
            "labels": {"severity": "critical"},
            "annotations": {
                "summary": "billingd does not answer",
                "description": "The daemon is not running, or its ops address cannot be reached.",
                "action": "`systemctl status billingd` and `journalctl -u billingd` on its machine.",
            },
        }
    )
    document = {"groups": [{"name": "billingd", "rules": rules}]}
    return f"# {_MAKE_ANEW}\n" + yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=_WIDTH)


_RULES_PAGE = """\
## Rules of your own

`alarms.rules` turns log records of the daemon and its libraries into alarms; `billingd check-config` checks them, and
`systemctl reload billingd` puts them in force. The first rule that fits a record counts. An ERROR record that no rule
fits is an `unexpected_error`, grouped by where it was raised. The alarms' own records are never looked at.

```yaml
alarms:
  rules:
    - logger: apscheduler        # and those below it; empty: all
      level: warning             # this level and above
      pattern: 'Run time of job "(?P<job>[^"]+)" .* was missed'
      code: job_missed           # a name of your own, or one of the above
      key: "{job}"               # a named group; empty: the instance
      severity: warning
      clear_after_seconds: 600   # without another; else alarms.quiet_seconds
      clear_pattern: 'Job "(?P<job>[^"]+)" .* executed successfully'
```

## Where alarms go

- The spool `alarms.jsonl` in `state_dir`, the log, and the table `alarms`, in this order. None waits for the next.
- `alarms.webhook_url`: an Alertmanager (API v2). All that stands is posted each minute with an end four minutes ahead,
  what is over with its real end for a quarter of an hour. Route by the labels `alertname` (the code), `severity`,
  `key`.
- Prometheus: the metric `billingd_alarm_standing{code,key,severity}`. `make install` puts rules for it beside the
  program, in `share/billingd/prometheus-rules.yaml`.
- The journal: `journalctl -x BILLINGD_ALARM_STATE=raised` says what to do. For this `make install` makes message
  catalogues (`billingd.catalog`, and `billingd.hr.catalog` for Croatian) and runs `journalctl --update-catalog`.
"""

DOCUMENTS: Final[Mapping[str, Callable[[], str]]] = {
    "alarms.md": markdown,
    "prometheus-rules.yaml": prometheus_rules,
    "billingd.catalog": lambda: journal_catalogue(croatian=False),
    "billingd.hr.catalog": lambda: journal_catalogue(croatian=True),
}
"""Every document that is made from the catalogue, by the name of its file."""


def _section(entry: Entry) -> list[str]:
    text = entry.english
    return [
        f"## {entry.code}",
        "",
        f"**{text.title}.** {text.meaning} {text.effect} Meanwhile: {text.meanwhile}.",
        "",
        f"- What to do: {text.action}",
        f"- Cleared by: {text.cleared_by}",
        f"- {_behaviour(entry)}",
        f"- `journalctl MESSAGE_ID={entry.message_id.hex}`",
        "",
    ]


def _behaviour(entry: Entry) -> str:
    parts = [
        "It is raised at once."
        if entry.immediately
        else "It is raised if it stays for most of `alarms.raise_within_seconds`."
    ]
    if entry.clear_scope is ClearScope.ALL:
        parts.append("One that was in trouble and succeeds speaks for all.")
    if entry.clear_rule is ClearRule.RESTART:
        parts.append("A restart ends it too.")
    if entry.mutes:
        parts.append(f"While it lasts it mutes {', '.join(f'`{code}`' for code in entry.mutes)}.")
    return " ".join(parts)


def _in_a_sentence(text: str) -> str:
    return text.removesuffix(".").replace("|", "\\|")


def _journal_entry(entry: Entry, text: Text, labels: Mapping[str, str]) -> str:
    paragraphs = [
        text.meaning,
        f"{labels['effect']}: {text.effect}",
        f"{labels['action']}: {text.action}",
        f"{labels['cleared']}: {text.cleared_by}",
    ]
    wrapped = "\n\n".join(
        textwrap.fill(paragraph.replace("`", ""), 78, break_on_hyphens=False) for paragraph in paragraphs
    )
    return (
        f"-- {entry.message_id.hex}\n"
        f"Subject: {text.title}: @BILLINGD_ALARM_STATE@ (@BILLINGD_ALARM_KEY@)\n"
        f"Defined-By: billingd\n\n{wrapped}\n"
    )


def write(folder: Path, *names: str) -> None:
    """Writes documents into a folder: those named, or all. Raises KeyError for a name that is none's, and OSError."""
    for name in names or DOCUMENTS:
        (folder / name).write_text(DOCUMENTS[name](), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:])
