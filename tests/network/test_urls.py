"""What a URL of the configuration may hold: hosts that can be names, and passwords that nothing repeats."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.values import TcpAddress, parse_listen
from network.resolver import resolve
from network.urls import DatabaseUrl, host_name, http_url, masked_url

NO_NAMES = ("erp..example", ".example", "a" * 64 + ".example", "erp.example..", ".", "a" * 63 + (".b" * 100), "er!p")


@pytest.mark.parametrize("host", NO_NAMES)
def test_a_host_that_can_be_no_name_is_refused_wherever_one_is_given(host: str) -> None:
    for read in (
        lambda: http_url(f"https://{host}/api"),
        lambda: DatabaseUrl.parse(f"postgresql://u@{host}/b"),
        lambda: parse_listen(f"{host}:9464"),
    ):
        with pytest.raises(ValueError, match="host") as refused:
            read()
        assert host not in str(refused.value)


@given(st.text(max_size=300))
def test_what_is_taken_for_a_name_is_one_that_the_name_service_takes(host: str) -> None:
    try:
        name = host_name(host)
    except ValueError:
        return
    assert name.isascii()
    name.encode("idna")
    assert not name.endswith(".")


def test_the_dot_at_the_end_of_a_name_is_left_out_because_no_certificate_has_it() -> None:
    assert http_url("https://erp.example.:8443/api/") == "https://erp.example:8443/api"
    assert DatabaseUrl.parse("postgresql://u@db.example./b").hosts[0][0] == "db.example"


def test_addresses_and_names_in_other_letters_are_hosts() -> None:
    assert http_url("http://[::1]:8090/api/v1") == "http://[::1]:8090/api/v1"
    assert http_url("https://račun.example/api") == "https://xn--raun-hua.example/api"
    assert DatabaseUrl.parse("postgresql://u@[::1]:6432/b").hosts[0][0] == "::1"
    assert parse_listen("[::]:9464") == TcpAddress("::", 9464)
    assert DatabaseUrl.parse("postgresql://u@db_1/b").hosts[0][0] == "db_1"


def test_what_the_name_service_says_no_to_is_an_oserror() -> None:
    for host in NO_NAMES:
        with pytest.raises(OSError, match=r"\w"):
            resolve(host, 443, 5)


@pytest.mark.parametrize("host", ["%2Frun%2FPostgreSQL", "%2frun%2FPostgreSQL"])
def test_a_folder_of_sockets_may_stand_percent_encoded_as_the_host(host: str) -> None:
    url = DatabaseUrl.parse(f"postgresql://u@{host}:5433/b?sslmode=require")
    assert (url.socket_folder, url.hosts[0][1], url.tls_mode) == (Path("/run/PostgreSQL"), 5433, "disable")


def test_a_folder_of_sockets_is_an_absolute_one() -> None:
    with pytest.raises(ValueError, match="folder that begins with /"):
        DatabaseUrl.parse("postgresql://u@/b?host=db.example")


def parsed(text: str) -> tuple[DatabaseUrl | None, str]:
    """The URL, or what is said against it."""
    try:
        return DatabaseUrl.parse(text), ""
    except ValueError as error:
        return None, str(error)


PASSWORDS = st.text(st.sampled_from("ab5@:/?#%[]&=. +") | st.characters(), min_size=1).map(lambda text: f"Se{text}cr")


@given(PASSWORDS)
def test_a_password_is_taken_whole_or_refused_and_never_told(password: str) -> None:
    """`p@ss/w#rd` was taken for the host `ss`, and its second half was printed."""
    text = f"postgresql://billingd:{password}@db.example/billingd"
    assert password not in masked_url(text)
    assert masked_url(text).endswith("@db.example/billingd")
    url, said = parsed(text)
    if url is None:
        assert not [piece for piece in password.split("@") if len(piece) > 2 and piece in said]
    else:
        assert (url.hosts, url.database, url.user) == ((("db.example", 5432),), "billingd", "billingd")
        assert url.password is not None


def test_the_signs_of_a_url_are_told_to_be_encoded_within_a_password() -> None:
    for wrong in ("p@ss/w#rd", "5/w", "5?w", "5#w"):
        with pytest.raises(ValueError, match="%40, / as %2F"):
            DatabaseUrl.parse(f"postgresql://u:{wrong}@db.example/b")
    assert DatabaseUrl.parse("postgresql://u:p%40ss%2Fw%23rd@db.example/b").password == "p@ss/w#rd"
    assert DatabaseUrl.parse("postgresql://u:p@ss@db.example/b").password == "p@ss"
    with pytest.raises(ValueError, match="zero byte"):
        DatabaseUrl.parse("postgresql://u:p%00@db.example/b")
