"""`make bench`: every comparison in one run, as tables, with the raw figures beside them as JSON."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environment import Scale, table
from benchmarks.growth import growth
from benchmarks.importing import import_and_calculate
from benchmarks.intake import deliveries_while_importing, gateways
from benchmarks.peers.compare import peers
from benchmarks.pipeline import cost_of_safety, whole_pipeline
from benchmarks.several import backlog, large_backlog, two_daemons


def kernel(_folder: Path, _scale: Scale) -> dict[str, Any]:
    """The supervision kernel: tell and restart against bare pykka."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.kernel"], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    rows: list[list[object]] = [[name, float(value)] for name, value in figures.items()]
    return {"figures": figures, "table": table(["what", "found"], rows)}


PARTS = {
    each.__name__.replace("_", "-"): each
    for each in (
        kernel,
        whole_pipeline,
        cost_of_safety,
        import_and_calculate,
        backlog,
        large_backlog,
        two_daemons,
        growth,
        deliveries_while_importing,
        gateways,
        peers,
    )
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any, all")
    arguments.add_argument("--quick", action="store_true", help="small and once: does it run?")
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=Path("var/bench"), help="where tables, figures and plot go")
    chosen = arguments.parse_args()
    unknown = set(chosen.parts) - PARTS.keys()
    if unknown:
        arguments.error(f"no such part: {', '.join(sorted(unknown))}")
    scale = Scale(chosen.quick, 1 if chosen.quick else chosen.pairs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that servers and daemons end with it
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="billingd-bench-") as folder:
            found = PARTS[name](Path(folder), scale)
            for plot in Path(folder).glob("*.png"):
                (chosen.out / plot.name).write_bytes(plot.read_bytes())
        shown = f"## {name}\n\n{PARTS[name].__doc__}\n\n{found['table']}\n"
        if found.get("plan"):
            shown += f"\n```\n{found['plan']}\n```\n"
        (chosen.out / f"{name}.md").write_text(shown)
        (chosen.out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
        sys.stdout.write(f"{shown}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
