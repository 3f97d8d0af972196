"""TLS: which certificates are trusted, which are shown, and what is said of those that are of no use."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from support.certificates import Authority, Identity
from support.driver import Driver, Outcome
from support.http1 import Http1Server
from support.http2 import INTERNAL_ERROR, Http2Server, Stream
from support.server import Blunt

OK, CONFIG, CONNECTION = 0, 3, 4


def https(identity: Identity, client_ca: Path | None = None) -> Http1Server:
    return Http1Server(tls=identity.context(client_ca))


def call(driver: Driver, server: Http1Server | Http2Server, **config: object) -> Outcome:
    outcome = driver.client(**{"api_key": "k", "base_url": server.url, "max_retries": 0, **config})
    return driver.call("environments.list") if outcome.status == OK else outcome


def refused(outcome: Outcome, *words: str) -> None:
    """The connection failed for a reason that is given in words; the names of some type may follow in parentheses."""
    message = outcome.json["message"]
    assert outcome.status == CONNECTION and "certificate" in message, outcome
    assert is_in_words(message), outcome
    for word in words:
        assert word in message, (word, outcome)


def is_in_words(message: str) -> bool:
    return not re.search(r"[a-z][A-Z]|[{}]", re.sub(r"`[^`]*`|\(.*\)", "", message))


# --- which servers are trusted ---


def test_a_server_that_no_known_root_vouches_for_is_refused(authority: Authority, driver: Driver) -> None:
    with https(authority.issue("unknown")) as server:
        refused(call(driver, server), "ca_file", "SSL_CERT_FILE")
        assert server.requests == []


def test_roots_come_from_the_configuration_and_from_the_environment(
    authority: Authority, driver_program: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "roots"
    folder.mkdir()
    (folder / "a.pem").write_bytes(authority.root.read_bytes())
    (folder / "not a certificate").write_text("nothing")
    root = str(authority.root)
    with https(authority.issue("known")) as server:
        for variables, config in (
            ({}, {"ca_file": root}),
            ({}, {"ca_file": root, "roots": "bundled"}),
            ({}, {"ca_file": root, "roots": "system"}),
            ({}, {"ca_file": root, "roots": "only_ca_file"}),
            ({}, {"ca_file": root, "http2": "never"}),
            ({"SSL_CERT_FILE": root}, {}),
            ({"SSL_CERT_FILE": root}, {"roots": "system"}),
            ({"SSL_CERT_DIR": f"/nonexistent:{folder}"}, {}),
        ):
            with Driver(driver_program, environment=variables) as driver:
                outcome = call(driver, server, **config)
                assert outcome.status == OK, (variables, config, outcome)


def test_only_ca_file_means_nothing_besides_it(authority: Authority, driver_program: Path, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other authority")
    with https(authority.issue("not-listed")) as server:
        for variables in ({"SSL_CERT_FILE": str(authority.root)}, {"SSL_CERT_DIR": str(authority.folder)}):
            with Driver(driver_program, environment=variables) as driver:
                refused(call(driver, server, roots="only_ca_file", ca_file=str(other.root)), "ca_file")


def test_roots_that_do_not_make_sense_are_refused(driver: Driver) -> None:
    assert driver.client(api_key="k", roots="only_ca_file").json["parameter"] in ("roots", "ca_file")
    for wrong in ("windows", "", 1):
        assert driver.client(api_key="k", roots=wrong).json["parameter"] == "roots"


def test_a_ca_file_that_is_of_no_use_is_refused(authority: Authority, driver: Driver, tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.pem", tmp_path / "broken.pem"
    empty.write_text("no certificate here")
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    os.mkfifo(tmp_path / "fifo.pem")
    for path in (empty, broken, tmp_path / "fifo.pem", tmp_path / "missing.pem", tmp_path):
        outcome = driver.client(api_key="k", ca_file=str(path))
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, "ca_file"), path


@pytest.mark.parametrize("key", ["ca_file", "client_cert_file", "client_key_file"])
def test_a_file_that_cannot_be_read_or_holds_no_pem_is_reported_as_that(
    key: str, authority: Authority, driver: Driver, tmp_path: Path
) -> None:
    good = authority.issue("readable")
    other, cut, damaged = tmp_path / "other.pem", tmp_path / "cut.pem", tmp_path / "damaged.pem"
    other.write_bytes(good.certificate.read_bytes() if key == "client_key_file" else good.key.read_bytes())
    cut.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    damaged.write_text("-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n")
    what = "private key" if key == "client_key_file" else "certificate"
    for path, problem in (
        # A regular file that can be opened but not read, not even by root.
        (Path("/proc/self/mem"), "cannot be read: Input/output error"),
        (tmp_path / "missing.pem", "cannot be read: No such file"),
        (other, f"contains no {what} in PEM form"),
        (cut, f"does not contain a {what} in valid PEM form: it is cut short"),
        (damaged, f"does not contain a {what} in valid PEM form"),
    ):
        own = {} if key == "ca_file" else {"client_cert_file": str(good.certificate), "client_key_file": str(good.key)}
        outcome = driver.client(api_key="k", **{**own, key: str(path)})
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, key), (path, outcome)
        assert outcome.json["message"].startswith(f"`{key}` {problem}"), (path, outcome)


def test_a_system_without_roots_is_reported_unless_there_is_no_tls(driver_program: Path) -> None:
    nowhere = {"SSL_CERT_FILE": "/nonexistent/roots.pem", "SSL_CERT_DIR": "/nonexistent"}
    with Driver(driver_program, environment=nowhere) as driver:
        outcome = driver.client(api_key="k", roots="system")
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, "roots"), outcome
        message = outcome.json["message"]
        assert "the system has no roots" in message and "/nonexistent/roots.pem" in message, outcome
        assert driver.client(api_key="k", roots="system", base_url="http://127.0.0.1:1").status == OK


@pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "SSL_CERT_FILE"])
def test_what_is_no_file_among_the_roots_blocks_nothing(
    variable: str, authority: Authority, driver_program: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "roots"
    folder.mkdir()
    os.mkfifo(folder / "a-fifo.pem")
    (folder / "b-folder.pem").mkdir()
    (folder / "c-nowhere.pem").symlink_to("nowhere")
    (folder / "d-root.pem").write_bytes(authority.root.read_bytes())
    value = str(folder if variable == "SSL_CERT_DIR" else folder / "a-fifo.pem")
    identity = authority.issue("next-to-a-fifo")
    with https(identity) as server, Driver(driver_program, environment={variable: value}) as driver:
        outcome = call(driver, server)
        assert outcome.status == (OK if variable == "SSL_CERT_DIR" else CONNECTION), outcome


# --- certificates that are not as they should be ---


def test_a_certificate_for_another_name_is_reported_with_the_name(authority: Authority, driver: Driver) -> None:
    with https(authority.issue("another", names="DNS:other.test,IP:10.9.8.7")) as server:
        refused(call(driver, server, ca_file=str(authority.root)), "localhost")


def test_a_certificate_that_has_expired_is_reported_as_that(authority: Authority, driver: Driver) -> None:
    expired = authority.issue("expired", days=0)
    time.sleep(1.5)  # It is valid for the second that it was made in.
    with https(expired) as server:
        refused(call(driver, server, ca_file=str(authority.root)), "expired")


def test_a_certificate_that_is_not_valid_yet_is_reported_as_that(authority: Authority, driver: Driver) -> None:
    with https(authority.issue_ahead("ahead")) as server:
        refused(call(driver, server, ca_file=str(authority.root)), "not valid yet, or this machine's clock is wrong")


def test_a_certificate_for_another_purpose_is_reported_as_that(authority: Authority, driver: Driver) -> None:
    with https(authority.issue("purpose", extra="extendedKeyUsage=clientAuth")) as server:
        refused(call(driver, server, ca_file=str(authority.root)))


def test_a_self_signed_certificate_works_as_ca_file_or_is_reported_with_the_remedy(
    authority: Authority, driver: Driver
) -> None:
    """As `openssl req -x509` makes it: a CA, and the server's certificate as well."""
    alone = authority.self_signed("alone")
    with https(alone) as server:
        refused(call(driver, server), "ca_file")
        outcome = call(driver, server, ca_file=str(alone.certificate))
        if outcome.status != OK:
            refused(outcome, "ca_file", "CA")


def test_a_p_521_certificate_works_or_is_reported_in_words(authority: Authority, driver: Driver) -> None:
    with https(authority.issue("p-521", curve="P-521")) as server:
        outcome = call(driver, server, ca_file=str(authority.root))
        if outcome.status != OK:
            message = outcome.json["message"]
            assert outcome.status == CONNECTION and is_in_words(message), outcome
            assert "P-521" in message or "P-256" in message, outcome


def test_a_chain_through_another_authority_works(authority: Authority, driver: Driver, tmp_path: Path) -> None:
    between = Authority(tmp_path / "between", "authority between", above=authority)
    with https(between.issue("end of the chain")) as server:
        outcome = call(driver, server, ca_file=str(authority.root))
        assert outcome.status == OK, outcome


def test_a_server_that_speaks_no_tls_is_reported_as_that(driver: Driver) -> None:
    with Blunt(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as server:
        driver.client(api_key="k", base_url=server.url.replace("http:", "https:"), max_retries=0)
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and "TLS" in outcome.json["message"], outcome


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        (40, "no TLS version, cipher or key type in common"),
        (42, "does not accept this client's certificate, or requires one"),
        (80, "the server rejected the TLS handshake"),
        (116, "does not accept this client's certificate, or requires one"),
        (120, "does not speak the version of HTTP that `http2` requires"),
    ],
)
def test_the_alert_of_a_server_is_reported_in_words(alert: int, words: str, driver: Driver) -> None:
    with Blunt(b"\x15\x03\x03\x00\x02\x02" + bytes([alert])) as server:
        driver.client(api_key="k", base_url=server.url.replace("http:", "https:"), max_retries=0)
        outcome = driver.call("environments.list")
        message = outcome.json["message"]
        assert outcome.status == CONNECTION and words in message and is_in_words(message), outcome


# --- HTTP/2 by ALPN ---


@pytest.mark.parametrize("alpn", [None, ["http/1.1"]])
def test_http2_that_the_server_does_not_speak_is_an_error_that_names_the_setting(
    alpn: list[str] | None, authority: Authority, driver: Driver
) -> None:
    context = authority.issue("one").context()
    if alpn:
        context.set_alpn_protocols(alpn)
    with Http1Server(tls=context) as secure, Http1Server() as plain:
        for server in (secure, plain):
            for http2, status in (("always", CONNECTION), ("auto", OK)):
                outcome = call(driver, server, ca_file=str(authority.root), http2=http2)
                assert outcome.status == status, (http2, outcome)
                assert status == OK or '`http2` is "always"' in outcome.json["message"], outcome


def test_a_request_that_fails_after_a_response_is_not_put_down_to_the_setting(driver: Driver) -> None:
    def act(stream: Stream) -> None:
        if len(server.requests) == 1:
            stream.answer()
        else:
            stream.reset(INTERNAL_ERROR)

    with Http2Server(act) as server:
        assert call(driver, server, http2="always").status == OK
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and "`http2`" not in outcome.json["message"], outcome


def test_http2_is_spoken_over_tls_if_the_server_has_it(authority: Authority, driver: Driver) -> None:
    with Http2Server(tls=authority.issue("two").context()) as server:
        outcome = call(driver, server, ca_file=str(authority.root))
        assert outcome.status == OK and len(server.requests) == 1, outcome


# --- client certificates ---


def test_a_server_that_asks_for_a_certificate_gets_it(authority: Authority, driver: Driver) -> None:
    mine = authority.issue("worker-1", extra="extendedKeyUsage=clientAuth")
    with https(authority.issue("asking"), client_ca=authority.root) as server:
        own = {"client_cert_file": str(mine.certificate), "client_key_file": str(mine.key)}
        for config in (own, {**own, "http2": "never"}, {**own, "roots": "only_ca_file"}):
            outcome = call(driver, server, ca_file=str(authority.root), **config)
            assert outcome.status == OK, outcome
        outcome = call(driver, server, ca_file=str(authority.root))
        assert outcome.status == CONNECTION and "client_cert_file" in outcome.json["message"], outcome


def test_a_certificate_that_the_server_does_not_know_is_an_error(
    authority: Authority, driver: Driver, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other", "other authority").issue("stranger")
    with https(authority.issue("asking"), client_ca=authority.root) as server:
        own = {"client_cert_file": str(stranger.certificate), "client_key_file": str(stranger.key)}
        outcome = call(driver, server, ca_file=str(authority.root), **own)
        assert outcome.status == CONNECTION and "client_cert_file" in outcome.json["message"], outcome


def test_client_certificates_that_are_of_no_use_are_refused_by_name(
    authority: Authority, driver: Driver, tmp_path: Path
) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    certificate, key = str(mine.certificate), str(mine.key)
    for config, parameter in (
        ({"client_cert_file": str(empty), "client_key_file": key}, "client_cert_file"),
        ({"client_cert_file": certificate, "client_key_file": str(empty)}, "client_key_file"),
        ({"client_cert_file": certificate, "client_key_file": str(tmp_path / "missing")}, "client_key_file"),
        ({"client_cert_file": certificate, "client_key_file": str(other.key)}, "client_key_file"),
        ({"client_cert_file": str(tmp_path), "client_key_file": key}, "client_cert_file"),
        ({"client_cert_file": certificate, "client_key_file": certificate}, "client_key_file"),
    ):
        outcome = driver.client(api_key="k", **config)
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, parameter), (config, outcome)
        assert "PRIVATE" not in outcome.json["message"]
    for alone in ({"client_cert_file": certificate}, {"client_key_file": key}):
        outcome = driver.client(api_key="k", **alone)
        assert outcome.status == CONFIG and outcome.json["parameter"] in ("client_cert_file", "client_key_file"), (
            outcome
        )
    # Both in one file, as some tools make it.
    both = tmp_path / "both.pem"
    both.write_bytes(mine.certificate.read_bytes() + mine.key.read_bytes())
    assert driver.client(api_key="k", client_cert_file=str(both), client_key_file=str(both)).status == OK
