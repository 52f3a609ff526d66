"""Judges mutants in forks of a pytest that has collected its tests, started its servers and seen all of them pass.

A mutant in a function's body takes the place of the function's code. One in a table, a default or a class is there only
on import, so its fork imports everything of ours again.
"""

import functools
import gc
import importlib.util
import itertools
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import hypothesis
import pytest
from _pytest.fixtures import SubRequest

from tests.mutation.mutator import Mutant, watched
from tests.test_tidy import ROOMS

MOST_MEMORY_BYTES = 8 << 30
ARGUMENTS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--no-summary"]
OURS = (*ROOMS, "tests.")


@dataclass(frozen=True)
class End:
    """What became of a mutant: `killed_by` a test, `import` or `timeout`; None if it survived `tests` tests."""

    killed_by: str | None
    tests: int
    seconds: float


class Judge:
    """A plugin of pytest: runs its tests without a mutant, then hands itself to `work`."""

    def __init__(self, paths: Sequence[str], work: Callable[["Judge"], None]) -> None:
        self._paths, self._work = paths, work
        self._functions: dict[str, list[FunctionType]] = {}
        self._seconds: dict[str, float] = {}
        self._passed: dict[tuple[str, int], set[str]] = {}
        self._items: dict[str, pytest.Item] = {}
        self._failed: list[str] = []
        self._databases = itertools.count(1000, 1000)

    def run(self, tests: Sequence[str]) -> None:
        """Raises RuntimeError if a test fails without any mutant."""
        if (status := pytest.main([*ARGUMENTS, *tests], [self])) != 0:
            raise RuntimeError(f"without a mutant pytest ended with {status}: {self._failed[:5]}")

    def judge(self, mutant: Mutant) -> End:
        """Runs the tests that pass through a mutant, quick ones first, until one fails."""
        ordered = sorted(self._tests(mutant), key=self._seconds.__getitem__)
        began = time.monotonic()
        numbers = itertools.count(next(self._databases))
        work = functools.partial(_imported if mutant.on_import else Judge._replaced, mutant, ordered, numbers)
        limit = (60 if mutant.on_import else 10) + 5 * sum(self._seconds[name] for name in ordered)
        return End(_fork(lambda: work(self), limit) if ordered else None, len(ordered), time.monotonic() - began)

    def _tests(self, mutant: Mutant) -> Collection[str]:
        if not mutant.on_import:
            return self._passed.get((mutant.path, mutant.line), ())
        of_file = [names for (path, _), names in self._passed.items() if path == mutant.path]
        if not of_file:
            return self._seconds
        of_others = frozenset[str]().union(*self._passed.values()).difference(*of_file)
        return [name for name in self._seconds if name not in of_others]

    def pytest_collection(self) -> None:
        use_quick_hypothesis()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        for path in self._paths:
            file = str(Path(path).resolve())
            module = importlib.import_module(_module(path))
            module.__dict__["__passed__"] = functools.partial(self._note, path)
            self._functions[path] = [
                each for each in gc.get_objects() if type(each) is FunctionType and each.__code__.co_filename == file
            ]
        originals = {path: [each.__code__ for each in found] for path, found in self._functions.items()}
        for path in self._paths:
            self._replace(path, compile(watched(path), str(Path(path).resolve()), "exec"))
        for item, following in itertools.zip_longest(session.items, session.items[1:]):
            self._current, began = item.nodeid, time.monotonic()
            self._run(item, following)
            self._seconds[item.nodeid] = time.monotonic() - began
        for path, codes in originals.items():
            for function, code in zip(self._functions[path], codes, strict=True):
                function.__code__ = code
        if self._failed:
            raise session.Failed(str(self._failed))
        self._work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)

    @property
    def server(self) -> Any:
        """The shared PostgreSQL, if a test has used it."""
        item = next(iter(self._items.values()))
        found = item.session._fixturemanager.getfixturedefs("shared_server", item)
        return found[0].cached_result[0] if found and found[0].cached_result else None

    def _note(self, path: str, line: int) -> None:
        self._passed.setdefault((path, line), set()).add(self._current)

    def _run(self, item: pytest.Item, following: pytest.Item | None = None) -> None:
        """Runs a test before another one; as the last one it leaves standing what all tests share."""
        chain = item.listchain()
        if following is None:
            following = min(self._items.values(), key=lambda each: len(set(chain).intersection(each.listchain())))
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    def _replace(self, path: str, module: CodeType) -> None:
        codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(module)}
        for function in self._functions[path]:
            old = function.__code__
            function.__code__ = codes.get((old.co_qualname, old.co_firstlineno), old)

    @staticmethod
    def _replaced(mutant: Mutant, names: Sequence[str], numbers: Iterator[int], judge: "Judge") -> str | None:
        judge._replace(mutant.path, compile(mutant.code, str(Path(mutant.path).resolve()), "exec"))
        for cache in gc.get_objects():
            if isinstance(cache, functools._lru_cache_wrapper):
                cache.cache_clear()
        sys.modules["tests.conftest"].__dict__["_numbers"] = numbers
        if judge.server is not None:
            judge.server._observer = None  # its connection is the parent's
        items = [judge._items[name] for name in names]
        for item, following in itertools.zip_longest(items, items[1:]):
            judge._run(item, following)
            if judge._failed:
                return judge._failed[0]
        return None


def _imported(mutant: Mutant, names: Sequence[str], numbers: Iterator[int], judge: Judge) -> str | None:
    server = judge.server
    for name in list(sys.modules):
        if name.startswith(OURS) and not name.startswith("tests.mutation"):
            del sys.modules[name]
    again = _Again(mutant, names, numbers, server)
    sys.meta_path.insert(0, again)
    status = pytest.main([*ARGUMENTS, "-x", *dict.fromkeys(name.split("::")[0] for name in names)], [again])
    return None if status == 0 else again.killed_by


class _Again:
    """A plugin of pytest in a fork: puts the mutant in the place of its module, and lends the server that runs."""

    def __init__(self, mutant: Mutant, names: Sequence[str], numbers: Iterator[int], server: Any) -> None:
        self._mutant, self._numbers, self._server = mutant, numbers, server
        self._order = {name: position for position, name in enumerate(names)}
        self.killed_by = "import"

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != _module(self._mutant.path):
            return None
        file = str(Path(self._mutant.path).resolve())
        return importlib.util.spec_from_file_location(name, file, loader=_Loader(name, file, self._mutant))

    def pytest_collection(self) -> None:
        use_quick_hypothesis()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order), key=lambda item: self._order[item.nodeid]
        )
        sys.modules["tests.conftest"].__dict__["_numbers"] = self._numbers

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: SubRequest) -> object:
        if self._server is None or fixturedef.argname not in ("cluster", "shared_server"):
            return None
        from tests.support import superuser

        settings = self._server.settings()
        superuser.credentials.update(user=settings.user, password=settings.password)
        self._server._observer = None
        fixturedef.cached_result = (self._server, fixturedef.cache_key(request), None)
        return self._server

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.killed_by == "import":
            self.killed_by = report.nodeid


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._code = compile(mutant.code, path, "exec")

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def use_quick_hypothesis() -> None:
    """Always the same examples; a failing one is neither made smaller nor kept."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", deadline=None, database=None, derandomize=True, phases=phases)
    hypothesis.settings.load_profile("mutants")


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _fork(work: Callable[[], str | None], seconds: float) -> str | None:
    """Runs work in a fork; gives what it returned, `timeout` after some seconds, and `end` if the fork just ended."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _in_fork(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = (pipe.read() or b'"end"') if select.select([pipe], [], [], seconds)[0] else b'"timeout"'
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    found: str | None = json.loads(answer)
    return found


def _in_fork(work: Callable[[], str | None], writer: int) -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    try:
        answer = work()
    except BaseException as error:  # noqa: BLE001  # whatever it was, the fork ends here
        answer = f"{error!r:.300}"
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)
