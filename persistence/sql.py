"""Reads the SQL that lies beside a module: `claims.sql` for claims.py, each statement below a line `-- name: x`."""

import re
from pathlib import Path

from billing.states import State
from persistence.invoices import conditions

_CONDITIONS = {name: value for name, value in vars(conditions).items() if name.isupper()} | {
    state.name: state.value for state in State
}


class Queries:
    """The statements of one file, as attributes. In them `{NAME}` stands for a term or for an earlier statement.

    Terms are those given, the constants of persistence/invoices/conditions.py and the names of the states.
    """

    def __init__(self, module_file: str, **terms: object) -> None:
        self._terms = {**_CONDITIONS, **terms}
        sections = re.split(r"^-- name: (\w+)\n", Path(module_file).with_suffix(".sql").read_text("utf-8"), flags=re.M)
        for name, body in zip(sections[1::2], sections[2::2], strict=True):
            statement = re.sub(r"^--.*\n?", "", body, flags=re.M).strip()  # a comment would end a line it is put into
            self._terms[name] = re.sub(r"\{(\w+)\}", lambda found: str(self._terms[found[1]]), statement)

    def __getattr__(self, name: str) -> str:
        try:
            return str(self._terms[name])
        except KeyError:
            raise AttributeError(f"there is no statement {name}") from None
