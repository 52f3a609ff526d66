"""The input that tests read: the sample, and files with mistakes."""

from pathlib import Path

from testkit.deployment import Deployment

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "cli" / "sample"
BAD = ROOT / "tests" / "data" / "bad"
MONTHS = ("08", "09", "10")


def import_sample(deployment: Deployment, *months: str) -> None:
    """Imports the sample's master data, and its readings of these months of 2026; of all without any."""
    deployment.do("import", "master", str(SAMPLE / "master.yaml"))
    import_readings(deployment, *(months or MONTHS))


def import_readings(deployment: Deployment, *months: str) -> None:
    """Imports the sample's readings of these months of 2026."""
    deployment.do("import", "readings", *(str(SAMPLE / f"readings-2026-{month}.csv.gz") for month in months))
