"""Which files that the configuration names are refused, what is said of each, and what is warned of."""

import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from config.files import SECRETS, refuse_unusable_files, unsafe
from config.load import ConfigurationRejected, load
from tests.config.test_config_secrets import not_as_root

GOOD = Path(__file__).resolve().parents[2] / "testkit" / "certificates" / "trusted.pem"
UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "no such file or directory"),
    "empty": (lambda path: path.write_bytes(b""), "it holds no certificate in PEM form"),
    "not PEM": (lambda path: path.write_bytes(bytes(range(256))), "it holds no certificate in PEM form"),
    "cut off": (lambda path: path.write_bytes(GOOD.read_bytes()[:200]), "it holds no certificate in PEM form"),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "a pipe": (lambda path: os.mkfifo(path), "is no regular file"),
    "unreadable": (lambda path: path.touch(0), "permission denied"),
}


def check(folder: Path, document: str) -> None:
    path = folder / "billingd.yaml"
    path.write_text(document)
    refuse_unusable_files(load(path, {}))


@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize(
    ("document", "key"),
    [
        ("erp:\n  ca_file: {}\n", "erp.ca_file"),
        ("alarms:\n  webhook_ca_file: {}\n", "alarms.webhook_ca_file"),
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
        refuse_unusable_files(loaded)
    (problem,) = refused.value.problems
    assert str(problem) == f"line 2: {key}: cannot use the certificate file {file}: {reason}"


def test_a_file_that_is_good_or_looked_at_by_nobody_is_not_refused(tmp_path: Path) -> None:
    check(tmp_path, "")
    check(tmp_path, f"erp:\n  ca_file: {GOOD}\n")
    for query in ("sslmode=prefer&sslrootcert=/none", "sslmode=verify-ca&host=/run/postgresql&sslrootcert=/none"):
        check(tmp_path, f"database:\n  url: postgresql://u@h/n?{query}\n")


NO_SECRET: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "no such file or directory"),
    "empty": (lambda path: path.write_bytes(b""), "holds no secret"),
    "a placeholder": (lambda path: path.write_bytes(b"none\n"), "holds no secret"),
    "two lines": (lambda path: path.write_bytes(b"s3cret\ns3cret\n"), "one line of text and nothing else"),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "a pipe": (lambda path: os.mkfifo(path), "is no regular file"),
    "unreadable": (lambda path: path.touch(0), "permission denied"),
}


@pytest.mark.parametrize("what", NO_SECRET)
@pytest.mark.parametrize("key", SECRETS)
def test_a_file_of_a_secret_that_cannot_be_used_is_refused_with_key_and_line(
    tmp_path: Path, what: str, key: str
) -> None:
    make, reason = NO_SECRET[what]
    file = tmp_path / "secret"
    make(file)
    section, name = key.split(".")
    (tmp_path / "billingd.yaml").write_text(f"{section}:\n  {name}: {file}\n")
    loaded = load(tmp_path / "billingd.yaml", {})
    reader = not_as_root() if what == "unreadable" else nullcontext()
    with reader, pytest.raises(ConfigurationRejected) as refused:
        refuse_unusable_files(loaded)
    (problem,) = refused.value.problems
    assert str(problem).startswith(f"line 2: {key}: cannot ")
    assert str(file) in str(problem)
    assert reason in str(problem)
    assert "s3cret" not in str(problem)


def test_a_placeholder_that_systemd_hands_over_is_not_refused(tmp_path: Path) -> None:
    for name in ("erp-token", "database-password"):
        (tmp_path / name).write_text("none")
    (tmp_path / "billingd.yaml").touch()
    refuse_unusable_files(load(tmp_path / "billingd.yaml", {"CREDENTIALS_DIRECTORY": str(tmp_path)}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks with another user's eyes")
def test_root_is_told_of_a_file_that_the_services_user_cannot_read() -> None:
    """Below a directory that everybody may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        state, token, file = home / "state", home / "token", home / "billingd.yaml"
        state.mkdir()
        token.write_text("s" * 32)
        file.write_text(f"state_dir: {state}\nerp:\n  token_file: {token}\n")
        token.chmod(0o600)
        loaded = load(file, {})
        refuse_unusable_files(loaded, for_service=True)
        os.chown(state, 65534, 65534)
        refuse_unusable_files(loaded)
        with pytest.raises(ConfigurationRejected, match=r"line 3: erp\.token_file: .*no read access"):
            refuse_unusable_files(loaded, for_service=True)
        os.chown(token, 65534, 65534)
        refuse_unusable_files(loaded, for_service=True)
        file.chmod(0o600)
        with pytest.raises(ConfigurationRejected, match="no read access to this file"):
            refuse_unusable_files(loaded, for_service=True)


SAFE = """
erp: {{base_url: "https://erp.example", token_file: {token}}}
database: {{url: "postgresql://u@db.example/n", password_file: {token}}}
alarms: {{webhook_url: "http://127.0.0.1:9093", webhook_token_file: {token}}}
ops: {{listen: "[::1]:9464", token_file: {token}}}
"""


@pytest.mark.parametrize(
    ("safe", "instead", "key", "says"),
    [
        ("https://erp", "http://erp", "erp.base_url", "unencrypted"),
        ("127.0.0.1:9093", "alerts.example:9093", "alarms.webhook_url", "unencrypted"),
        ("[::1]:9464", "0.0.0.0:9464", "ops.listen", "no TLS of its own"),
        ("[::1]:9464", "billing.example:9464", "ops.listen", "no TLS of its own"),
        ("u@db", "u:geheim@db", "database.url", "password_file"),
        ("u@db", "u:geheim@db", "database.url", "everybody may read"),
    ],
)
def test_what_is_plainly_unsafe_is_warned_of(tmp_path: Path, safe: str, instead: str, key: str, says: str) -> None:
    token, file = tmp_path / "token", tmp_path / "billingd.yaml"
    token.write_text("s" * 16)
    token.chmod(0o640)
    file.write_text(SAFE.format(token=token))
    assert unsafe(load(file, {})) == []
    file.write_text(SAFE.format(token=token).replace(safe, instead))
    warnings = [str(each) for each in unsafe(load(file, {}))]
    assert [each for each in warnings if key in each and says in each and each.startswith("line ")], warnings
    assert "geheim" not in str(warnings)


def test_a_short_token_and_one_that_everybody_may_read_are_warned_of(tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "billingd.yaml"
    token.write_text("s" * 15)
    token.chmod(0o604)
    file.write_text(SAFE.format(token=token))
    warnings = [str(each) for each in unsafe(load(file, {}))]
    assert (
        len([each for each in warnings if "fewer than 16" in each]) == 3
    )  # a password's length is the server's matter
    assert len([each for each in warnings if "chmod o-r" in each]) == 4
