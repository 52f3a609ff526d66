"""Records the month, runs it once for each case, keeps each result in a file of JSON lines, and sums them up."""

import json
import re
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path

from drills.calls.cases import Case, cases_of, kind_of
from drills.calls.month import Month, workload
from drills.environment import POSTGRES
from testkit.postgres import PostgresServer

RECORDINGS = 2
TELL_EVERY_SECONDS = 10.0


@dataclass
class Result:
    """What a case came to. `reached`: its fault was injected. `new_sites`: what no recording had met."""

    case: str
    site: str
    fault: str
    reached: bool = False
    held: bool = False
    seconds: float = 0.0
    reason: str | None = None
    new_sites: list[str] = field(default_factory=list)
    log: str | None = None


class Months:
    """Runs months on one server."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self._folder, self._server = folder, server
        self._numbers = count(1)
        self._creating = threading.Lock()

    def record(self) -> Counter[str]:
        """The calls of a month without a fault. Raises RuntimeError if that doesn't hold."""
        calls: Counter[str] = Counter()
        for _ in range(RECORDINGS):
            wrong, met, _reached, home = self._run(None)
            if wrong:
                raise RuntimeError(f"the month does not hold without a fault: {'; '.join(wrong)}; logs in {home}")
            calls |= met
            shutil.rmtree(home)
        return calls

    def judge(self, case: Case, known: Counter[str]) -> Result:
        """Runs a case; its logs are kept if it did not hold."""
        began = time.monotonic()
        result = Result(case.key, case.site, case.fault)
        try:
            wrong, met, reached, home = self._run(case)
            result.reached = reached == (1 if case.after is None else 2)
            result.new_sites = sorted(met.keys() - known.keys())
        except Exception as error:  # noqa: BLE001 - one case's end must not be the run's
            wrong, home = [f"{type(error).__name__}: {error} ({traceback.format_exc(limit=-2)})"], None
        result.held, result.reason = not wrong, "; ".join(wrong) or None
        if home is not None and result.held:
            shutil.rmtree(home, ignore_errors=True)
        else:
            result.log = str(home)
        result.seconds = round(time.monotonic() - began, 2)
        return result

    def _run(self, case: Case | None) -> tuple[list[str], Counter[str], int, Path]:
        number = next(self._numbers)
        home = self._folder / f"m{number}"
        with self._creating:  # a template is copied by one at a time
            month = Month(home, self._server, f"month_{number}", case)
        with closing(month):
            return month.run(), month.calls(), month.reached(), home


@contextmanager
def _months(jobs: int) -> Iterator[Months]:
    folder = Path(tempfile.mkdtemp(prefix="calls-"))  # short, since sockets lie in it
    server = PostgresServer.make(folder / "pg", {**POSTGRES, "max_connections": str(40 * jobs)})
    try:
        workload().load(server, folder, late=False)
        server.create_app_user()
        yield Months(folder, server)
    finally:
        server.close()
        shutil.rmtree(server.home, ignore_errors=True)


def run_calls(
    number: int | None, seed: int, jobs: int, json_file: Path | None, tell: Callable[[str], None], only: str = ""
) -> bool:
    """Runs the cases that the file does not have yet or that did not hold, or a number of them; whether all held.

    `only`: a regular expression that is found in their names.
    """
    done = _read(json_file)
    with _months(jobs) as months, ThreadPoolExecutor(jobs) as pool:
        known = months.record()
        wanted = (case for case in cases_of(known, seed) if re.search(only, case.key))
        cases = [case for case in wanted if case.key not in done or not done[case.key].held]
        tell(f"{len(known)} sites, {known.total()} calls, {len(cases)} cases to run, seed {seed}")
        rest = iter(islice(cases, number))
        further: list[Case] = []
        running: dict[Future[Result], Case] = {}
        told, results = time.monotonic(), dict(done)
        while True:
            while len(running) < jobs and (case := next(rest, None) or (further.pop() if further else None)):
                running[pool.submit(months.judge, case, known)] = case
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                case, result = running.pop(future), future.result()
                results[result.case] = result
                _append(json_file, result)
                if number is None and not only and case.after is None:
                    # Calls that only a fault brings about: one of each, with each fault, behind that fault.
                    further += cases_of_new(result, case, known)
                if not result.held:
                    tell(f"{result.case}: NOT HELD: {result.reason}; logs in {result.log}")
                if time.monotonic() - told > TELL_EVERY_SECONDS:
                    told = time.monotonic()
                    tell(f"{len(results) - len(done)} of {len(cases)}: {summary(results.values())}")
    tell(summary(results.values()))
    return all(each.held for each in results.values())


def cases_of_new(result: Result, case: Case, known: Counter[str]) -> list[Case]:
    """The cases of the sites that this one was the first to meet, which are known from now on."""
    new = Counter({site: 1 for site in result.new_sites if site not in known})
    known |= new
    return [Case(each.site, 1, each.fault, case) for each in cases_of(new, 0)]


def summary(results: Collection[Result]) -> str:
    """How many cases of how many sites held, were not reached, or failed."""
    sites = {each.site for each in results}
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(Counter(map(kind_of, sites)).items()))
    held = sum(each.held and each.reached for each in results)
    missed, failed = sum(each.held and not each.reached for each in results), sum(not each.held for each in results)
    return f"{len(results)} cases at {len(sites)} sites ({kinds}): {held} held, {missed} not reached, {failed} NOT held"


def _read(path: Path | None) -> dict[str, Result]:
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {line["case"]: Result(**line) for line in lines}


def _append(path: Path | None, result: Result) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
