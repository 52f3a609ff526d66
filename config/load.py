"""Finds the configuration file, reads it and names everything that is wrong with it in one go."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from config.document import Document, Problem, read
from config.keys import KEYS, merged, nested, section_of
from config.refusals import problems_of
from config.sections import Section
from config.settings import Settings
from files.opening import open_regular

DEFAULT_FILE = Path(__file__).with_name("billingd.yaml")
"""Every key with its default, and what it means to operators."""
SYSTEM_FILE = Path("/etc/billingd/billingd.yaml")
SYSTEM_CREDENTIALS = Path("/etc/billingd/credentials")
"""Where the unit's credentials come from: an administrator's command reads them there itself."""
_MOST_BYTES = 1_000_000
_CREDENTIALS = {"erp.token_file": "erp-token", "database.password_file": "database-password"}


class ConfigurationRejected(Exception):  # noqa: N818 - it is named as its alarm is
    """The configuration can't be used; `problems` holds every reason, `path` the file if there is one."""

    def __init__(self, problems: list[Problem], path: Path | None = None) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.line or 0, problem.key))
        self.path = path
        where = f"{path}: " if path else ""
        super().__init__(where + "; ".join(str(problem) for problem in self.problems))


@dataclass(frozen=True)
class Source:
    """Where a value comes from; `detail` is the line of the file, or the variable of the environment."""

    kind: Literal["file", "environment", "default"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".strip()


@dataclass(frozen=True)
class Loaded:
    """Settings, the file they come from (None: no file) with its hash, and the source of each key's value."""

    settings: Settings
    path: Path | None
    sha256: str | None
    sources: dict[str, Source]


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read the configuration from `path`, else $BILLINGD_CONFIG, else the system's file, else the defaults.

    Raises ConfigurationRejected with every problem found.
    """
    found, content = _find(path, environ)
    document = read(content)
    stated = _without_empty_sections(document.values, Settings)
    surroundings = _from_environment(environ)
    if found == SYSTEM_FILE and not environ.get("CREDENTIALS_DIRECTORY"):
        surroundings |= _credentials(SYSTEM_CREDENTIALS, str(SYSTEM_CREDENTIALS))
    sources = {name: Source("default") for name in KEYS}
    sources |= {name: Source("environment", variable) for name, (_, variable) in surroundings.items()}
    for name in KEYS:
        key = tuple(name.split("."))
        if key in document.lines and _is_stated(stated, key):
            sources[name] = Source("file", f"line {document.line(key)}")
    filled = nested({name: value for name, (value, _) in surroundings.items()})
    settings = _validated(merged(filled, stated), document, found)
    return Loaded(settings, found, hashlib.sha256(content).hexdigest() if found else None, sources)


def _find(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, bytes]:
    named = path or (Path(environ["BILLINGD_CONFIG"]) if environ.get("BILLINGD_CONFIG") else None)
    chosen = named or SYSTEM_FILE
    try:
        with open_regular(chosen, follow_links=True) as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        if named is None and isinstance(error, FileNotFoundError | NotADirectoryError):
            return None, b""
        reason = (error.strerror or type(error).__name__).lower()
        problem = Problem("", None, f"cannot read the configuration file: {reason}")
        raise ConfigurationRejected([problem], chosen) from error
    if len(content) > _MOST_BYTES:
        raise ConfigurationRejected([Problem("", None, f"the file is larger than {_MOST_BYTES} bytes")], chosen)
    return chosen, content


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the keys whose default the environment gives, with the name of the variable."""
    result: dict[str, tuple[str, str]] = {}
    # systemd separates several state directories by colons; the first is the unit's own.
    if state_dir := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        result["state_dir"] = (state_dir, "STATE_DIRECTORY")
    if directory := environ.get("CREDENTIALS_DIRECTORY"):
        result |= _credentials(Path(directory), "CREDENTIALS_DIRECTORY")
    return result


def _credentials(directory: Path, source: str) -> dict[str, tuple[str, str]]:
    paths = {name: directory / file_name for name, file_name in _CREDENTIALS.items()}
    return {name: (str(path), source) for name, path in paths.items() if os.access(path, os.F_OK)}


def _without_empty_sections(values: dict[str, Any], model: type[Section]) -> dict[str, Any]:
    """Drop sections without a key: all of theirs may be commented out."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        section = section_of(model.model_fields[name]) if name in model.model_fields else None
        if section is None or value is not None:
            result[name] = _without_empty_sections(value, section) if section and isinstance(value, dict) else value
    return result


def _is_stated(values: Any, path: tuple[str, ...]) -> bool:
    return not path or (isinstance(values, dict) and path[0] in values and _is_stated(values[path[0]], path[1:]))


def _validated(values: dict[str, Any], document: Document, path: Path | None) -> Settings:
    problems = list(document.problems)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += problems_of(error, values, document)
    else:
        if not problems:
            return settings
    raise ConfigurationRejected(problems, path)
