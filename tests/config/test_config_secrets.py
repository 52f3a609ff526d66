"""How secrets are read from files, and what is said when they can't be."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.keys import nested
from config.load import load
from config.secrets import TOKEN_KEYS, SecretUnreadable, database_password, read_secret, token
from config.settings import Settings


@pytest.mark.parametrize("content", ["s3cret", "s3cret\n", "  s3cret\r\n"])
def test_space_and_line_ends_around_a_secret_do_not_count(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content.encode())
    assert read_secret(path, "erp.token_file") == SecretStr("s3cret")


@pytest.mark.parametrize("content", ["", "\n", "none", "-\n", "Placeholder\n", "changeme"])
def test_an_empty_or_placeholder_secret_counts_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    assert read_secret(path, "erp.token_file") is None


@pytest.mark.parametrize("content", [b"s3cret\nsecond", b"s3cret\xff", b"s3\x00cret", b"s3cret" * 20_000])
def test_a_file_that_holds_more_than_one_line_of_text_is_refused_without_repeating_it(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SecretUnreadable, match=r"key erp\.token_file.*one line of text") as refused:
        read_secret(path, "erp.token_file")
    assert "s3" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_a_missing_file_and_a_folder_are_named_with_their_key(tmp_path: Path) -> None:
    with pytest.raises(SecretUnreadable, match=r"file .*/none \(key ops\.token_file\): no such file or directory"):
        read_secret(tmp_path / "none", "ops.token_file")
    with pytest.raises(SecretUnreadable, match="is a directory"):
        read_secret(tmp_path, "ops.token_file")


@contextlib.contextmanager
def not_as_root() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_read_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret")
    path.chmod(0)
    with not_as_root(), pytest.raises(SecretUnreadable) as refused:
        read_secret(path, "erp.token_file")
    assert str(refused.value) == (
        f"cannot read the token file {path} (key erp.token_file): permission denied; "
        "give the service's user read access"
    )


def test_each_token_comes_from_the_file_of_its_own_key(tmp_path: Path) -> None:
    settings = Settings.model_validate(nested({key: tmp_path / key for key in TOKEN_KEYS}))
    for key in TOKEN_KEYS:
        assert token(Settings(), key) is None
        (tmp_path / key).write_text(key)
        assert token(settings, key) == SecretStr(key)
        (tmp_path / key).write_text("with space")
        with pytest.raises(SecretUnreadable, match=key):
            token(settings, key)


def test_the_password_file_wins_over_the_url_and_a_placeholder_leaves_it_to_the_url(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("of the file")
    url = "postgresql://u:of%20the%20url@h/n"
    alone = Settings.model_validate(nested({"database.url": url}))
    both = Settings.model_validate(nested({"database.url": url, "database.password_file": path}))
    assert database_password(alone) == SecretStr("of the url")
    assert database_password(both) == SecretStr("of the file")
    path.write_text("none")
    assert database_password(both) == SecretStr("of the url")
    assert database_password(Settings()) is None


def test_credentials_of_systemd_are_found(tmp_path: Path) -> None:
    (tmp_path / "erp-token").write_text("t")
    (tmp_path / "database-password").write_text("p")
    (tmp_path / "billingd.yaml").touch()
    settings = load(tmp_path / "billingd.yaml", {"CREDENTIALS_DIRECTORY": str(tmp_path)}).settings
    assert token(settings, "erp.token_file") == SecretStr("t")
    assert database_password(settings) == SecretStr("p")
