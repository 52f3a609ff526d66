"""Which files of trusted certificates are refused, and what is said of each."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from config.certificates import refuse_unusable_certificates
from config.load import ConfigurationRejected, load
from tests.config.test_config_secrets import not_as_root

GOOD = Path(__file__).resolve().parents[2] / "testkit" / "certificates" / "trusted.pem"
UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "no such file or directory"),
    "empty": (lambda path: path.write_bytes(b""), "it holds no certificate in PEM form"),
    "not PEM": (lambda path: path.write_bytes(bytes(range(256))), "it holds no certificate in PEM form"),
    "cut off": (lambda path: path.write_bytes(GOOD.read_bytes()[:200]), "it holds no certificate in PEM form"),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "unreadable": (lambda path: path.touch(0), "permission denied"),
}


def check(folder: Path, document: str) -> None:
    path = folder / "billingd.yaml"
    path.write_text(document)
    refuse_unusable_certificates(load(path, {}))


@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize(
    ("document", "key"),
    [
        ("erp:\n  ca_file: {}\n", "erp.ca_file"),
        ("database:\n  url: postgresql://u@h/n?sslmode=verify-full&sslrootcert={}\n", "database.url"),
    ],
)
def test_item_8_a_file_of_certificates_that_cannot_be_used_is_refused_with_its_reason(
    tmp_path: Path, what: str, document: str, key: str
) -> None:
    make, reason = UNUSABLE[what]
    file = tmp_path / "ca.pem"
    make(file)
    (tmp_path / "billingd.yaml").write_text(document.format(file))
    loaded = load(tmp_path / "billingd.yaml", {})
    reader = not_as_root() if what == "unreadable" else nullcontext()
    with reader, pytest.raises(ConfigurationRejected) as refused:
        refuse_unusable_certificates(loaded)
    (problem,) = refused.value.problems
    assert str(problem) == f"line 2: {key}: cannot use the certificate file {file}: {reason}"


def test_a_file_that_is_good_or_looked_at_by_nobody_is_not_refused(tmp_path: Path) -> None:
    check(tmp_path, "")
    check(tmp_path, f"erp:\n  ca_file: {GOOD}\n")
    for query in ("sslmode=prefer&sslrootcert=/none", "sslmode=verify-ca&host=/run/postgresql&sslrootcert=/none"):
        check(tmp_path, f"database:\n  url: postgresql://u@h/n?{query}\n")
