"""Proxies: SOCKS5 and CONNECT, from the configuration and from the environment; refusals, nonsense and silence."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from support.certificates import Authority
from support.driver import Driver, Outcome
from support.http1 import Http1Server
from support.http2 import Http2Server
from support.proxies import OPENED, ConnectProxy, SocksProxy
from support.server import Blunt

OK, CONFIG, CONNECTION, TIMEOUT = 0, 3, 4, 5
PASSWORD = "päss:w/rd%41+-of-the-proxy"
LOGIN = f"user:{PASSWORD}"


def login(address: str, login: str = LOGIN) -> str:
    """An address with a user and password before it, as they stand in a URL."""
    user, _, password = login.partition(":")
    return f"{quote(user, safe='')}:{quote(password, safe='')}@{address}"


def hides(outcome: Outcome, password: str = PASSWORD, whole: str = LOGIN) -> None:
    """No spelling of the password is in an error."""
    assert outcome.text is not None
    message = outcome.text.lower()
    spellings = [password, quote(password, safe=""), quote(password), base64.b64encode(whole.encode()).decode()]
    for spelling in spellings:
        assert spelling.lower() not in message and spelling.lower() not in outcome.json["message"].lower(), outcome


def insecure(host: str = "api.test", **config: object) -> dict[str, object]:
    return {"api_key": "k", "base_url": f"http://{host}", "allow_insecure_http": True, "max_retries": 0} | config


# --- SOCKS ---


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("host", ["10.1.2.3", "[fd00::1:2]"])
@pytest.mark.parametrize("by", ["ALL_PROXY", "all_proxy", "http_proxy", "proxy"])
def test_a_socks_proxy_is_asked_for_addresses(scheme: str, host: str, by: str, driver_program: Path) -> None:
    with Http1Server() as server, SocksProxy(target=server.port) as proxy:
        url = f"{scheme}://{proxy.address}"
        with Driver(driver_program, environment={} if by == "proxy" else {by: url}) as driver:
            config = insecure(host, **({"proxy": url} if by == "proxy" else {}))
            assert driver.client(**config).status == OK
            assert [driver.call("environments.list").status for _ in range(2)] == [OK, OK]
        assert proxy.asked == [(host.strip("[]"), 80)]
        assert server.requests[0].target == "/v1/environments" and server.requests[0].headers["host"] == host


def test_socks5h_leaves_the_name_to_the_proxy_and_socks5_does_not(driver: Driver) -> None:
    with Http1Server() as server, SocksProxy(target=server.port) as proxy:
        driver.client(**insecure("only-the-proxy-knows.test", proxy=f"socks5h://{proxy.address}"))
        assert driver.call("environments.list").status == OK
        driver.client(**insecure("localhost", proxy=f"socks5://{proxy.address}"))
        assert driver.call("environments.list").status == OK
        assert proxy.asked[0] == ("only-the-proxy-knows.test", 80)
        assert proxy.asked[1][0] in ("127.0.0.1", "::1")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_secure_call_goes_through_a_socks_proxy(scheme: str, authority: Authority, driver: Driver) -> None:
    tls = authority.issue("behind-socks", names="IP:10.1.2.3").context()
    with Http2Server(tls=tls) as server, SocksProxy(target=server.port) as proxy:
        driver.client(
            api_key="k", base_url="https://10.1.2.3", ca_file=str(authority.root), proxy=f"{scheme}://{proxy.address}"
        )
        assert driver.call("environments.list").status == OK
        assert proxy.asked == [("10.1.2.3", 443)] and len(server.requests) == 1


def test_a_socks_proxy_gets_the_password_and_no_error_shows_it(driver: Driver) -> None:
    with Http1Server() as server, SocksProxy(target=server.port, login=LOGIN) as proxy:
        driver.client(**insecure(proxy=f"socks5h://{login(proxy.address)}"))
        assert driver.call("environments.list").status == OK
        for wrong in (proxy.address, login(proxy.address, "user:wrong-" + PASSWORD)):
            driver.client(**insecure(proxy=f"socks5h://{wrong}"))
            outcome = driver.call("environments.list")
            assert outcome.status == CONNECTION and proxy.address in outcome.json["message"], outcome
            hides(outcome, "wrong-" + PASSWORD, "user:wrong-" + PASSWORD)


@pytest.mark.parametrize("reply", [1, 2, 3, 4, 5, 6, 7, 8, 9, 255])
def test_a_refusal_of_a_socks_proxy_names_the_proxy(reply: int, driver: Driver) -> None:
    with SocksProxy(reply=reply) as proxy:
        driver.client(**insecure(proxy=f"socks5h://{proxy.address}"))
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and proxy.address in outcome.json["message"], outcome


@pytest.mark.parametrize(
    "broken",
    [
        *((0, said) for said in (b"", b"\x05", b"\x04\x00", b"\x05\x07", b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        *((1, said) for said in (b"", b"\x05\x00\x00", b"\x04\x00\x00\x01" + bytes(6), b"\x05\x00\x00\x09" + bytes(6))),
        (1, b"\x05\x00\x00\x03\xff" + bytes(9)),
    ],
)
def test_nonsense_from_a_socks_proxy_is_a_failure_to_connect(broken: tuple[int, bytes], driver: Driver) -> None:
    with SocksProxy(broken=broken) as proxy:
        driver.client(**insecure(proxy=f"socks5h://{proxy.address}"))
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and proxy.address in outcome.json["message"], outcome


# --- CONNECT ---


def secure(authority: Authority, host: str, **config: object) -> dict[str, object]:
    return {"api_key": "k", "base_url": f"https://{host}", "ca_file": str(authority.root), "max_retries": 0} | config


def tunnelled_server(authority: Authority) -> Http1Server:
    return Http1Server(tls=authority.issue("tunnelled", names="DNS:tunnelled.test").context())


@pytest.mark.parametrize(
    "reply", [OPENED, b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200\r\n\r\n"], ids=lambda reply: repr(reply[:20])
)
def test_a_200_opens_a_tunnel(reply: bytes, authority: Authority, driver: Driver) -> None:
    with tunnelled_server(authority) as server, ConnectProxy(lambda _: reply, target=server.port) as proxy:
        driver.client(**secure(authority, "tunnelled.test", proxy=f"http://{proxy.address}"))
        assert [driver.call("environments.list").status for _ in range(2)] == [OK, OK]
        # One tunnel, which is kept; the server is asked as if there were none.
        assert proxy.asked == ["tunnelled.test:443"]
        assert [request.target for request in server.requests] == ["/v1/environments"] * 2
        assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 201 Made\r\nvia: 1.1 other\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.0 299\r\n\r\n"],
    ids=["201", "204", "299"],
)
def test_any_other_success_opens_a_tunnel_too(
    reply: bytes, over_tls: bool, authority: Authority, driver: Driver
) -> None:
    known = "Basic " + base64.b64encode(LOGIN.encode()).decode()
    tls = authority.issue("proxy").context() if over_tls else None
    with (
        tunnelled_server(authority) as server,
        ConnectProxy(lambda _: reply, target=server.port, tls=tls) as proxy,
    ):
        scheme, address = ("https", f"localhost:{proxy.port}") if over_tls else ("http", proxy.address)
        driver.client(**secure(authority, "tunnelled.test", proxy=f"{scheme}://{login(address)}"))
        outcomes = [driver.call("environments.list") for _ in range(2)]
        assert [outcome.status for outcome in outcomes] == [OK, OK], outcomes
        assert [request.target for request in server.requests] == ["/v1/environments"] * 2
        assert {request.headers.get("proxy-authorization") for request in proxy.requests} == {known}
        assert set(proxy.asked) == {"tunnelled.test:443"}


@pytest.mark.parametrize("shows_certificate", [False, True])
def test_no_relay_shows_the_client_certificate_for_others(
    shows_certificate: bool, authority: Authority, driver: Driver
) -> None:
    """The relay that another success needs is open to every program of the machine."""
    mine = authority.issue("mine")
    own = {"client_cert_file": str(mine.certificate), "client_key_file": str(mine.key)} if shows_certificate else {}
    tls = authority.issue("proxy").context(authority.root if shows_certificate else None)
    reply = b"HTTP/1.1 201 Made\r\n\r\n"
    with tunnelled_server(authority) as server, ConnectProxy(lambda _: reply, target=server.port, tls=tls) as proxy:
        driver.client(**secure(authority, "tunnelled.test", proxy=f"https://localhost:{proxy.port}", **own))
        outcome = driver.call("environments.list")
        assert outcome.status == (CONNECTION if shows_certificate else OK), outcome
        assert not shows_certificate or "answered CONNECT with 201 Made" in outcome.json["message"], outcome


def test_a_tunnel_that_a_proxy_opens_with_201_can_break_and_be_opened_again(
    authority: Authority, driver: Driver
) -> None:
    reply = b"HTTP/1.1 201 Made\r\n\r\n"
    with tunnelled_server(authority) as server, ConnectProxy(lambda _: reply, target=server.port) as proxy:
        driver.client(**secure(authority, "tunnelled.test", proxy=f"http://{proxy.address}", max_retries=2))
        assert driver.call("environments.list").status == OK
        server.close_all()
        assert driver.call("environments.list").status == OK
        proxy.answer = lambda _: b"HTTP/1.1 403 No more\r\n\r\n"
        server.close_all()
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and "answered CONNECT with 403 No more" in outcome.json["message"], outcome


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_tunnel_is_opened_for_a_client_that_knows_the_password(
    over_tls: bool, authority: Authority, driver: Driver
) -> None:
    known = "Basic " + base64.b64encode(LOGIN.encode()).decode()

    def answer(request: object) -> bytes:
        is_known = proxy.requests[-1].headers.get("proxy-authorization") == known
        return OPENED if is_known else b"HTTP/1.1 407 Who are you?\r\ncontent-length: 0\r\n\r\n"

    tls = authority.issue("proxy").context() if over_tls else None
    with tunnelled_server(authority) as server, ConnectProxy(answer, target=server.port, tls=tls) as proxy:
        scheme, address = ("https", f"localhost:{proxy.port}") if over_tls else ("http", proxy.address)
        driver.client(**secure(authority, "tunnelled.test", proxy=f"{scheme}://{login(address)}"))
        outcome = driver.call("environments.list")
        assert outcome.status == OK, outcome
        driver.client(**secure(authority, "tunnelled.test", proxy=f"{scheme}://{address}"))
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION, outcome
        assert all(part in outcome.json["message"] for part in (address, "407", "Who are you?")), outcome
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "Forbidden"),
        (407, "Proxy Authentication Required"),
        (502, "Bad Gateway"),
        (302, "Found"),
        (400, "Nope"),
        (600, "Odd"),
    ],
)
@pytest.mark.parametrize("by", ["proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_refusal_reports_the_proxy_the_status_and_the_reason(
    status: int, reason: str, by: str, authority: Authority, driver_program: Path
) -> None:
    page = f"HTTP/1.1 {status} {reason}\r\ncontent-length: 11\r\nconnection: close\r\n\r\n<p>no</p>\r\n".encode()
    with ConnectProxy(lambda _: page) as proxy:
        url = f"http://{login(proxy.address)}"
        with Driver(driver_program, environment={} if by == "proxy" else {by: url}) as driver:
            driver.client(**secure(authority, "tunnelled.test", **({"proxy": url} if by == "proxy" else {})))
            outcome = driver.call("environments.list")
            assert outcome.status == CONNECTION, outcome
            assert all(part in outcome.json["message"] for part in (proxy.address, str(status), reason)), outcome
            hides(outcome)


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_proxy_can_be_given_by_an_ipv6_address(over_tls: bool, authority: Authority, driver: Driver) -> None:
    tls = authority.issue("ipv6", names="IP:::1").context() if over_tls else None
    with tunnelled_server(authority) as server, ConnectProxy(host="::1", target=server.port, tls=tls) as proxy:
        url = f"{'https' if over_tls else 'http'}://{proxy.address}"
        for reply in (OPENED, b"HTTP/1.1 201 Created\r\n\r\n"):
            proxy.answer = lambda _, reply=reply: reply  # type: ignore[misc]
            driver.client(**secure(authority, "tunnelled.test", proxy=url))
            outcome = driver.call("environments.list")
            assert outcome.status == OK, (reply, outcome)
        proxy.answer = lambda _: b"HTTP/1.1 403 Forbidden\r\n\r\n"
        driver.client(**secure(authority, "tunnelled.test", proxy=url))
        outcome = driver.call("environments.list")
        refusal = f"{proxy.address} answered CONNECT with 403"
        assert outcome.status == CONNECTION and refusal in outcome.json["message"], outcome


def test_a_proxy_that_refuses_once_and_then_says_nothing_is_named(authority: Authority, driver: Driver) -> None:
    with ConnectProxy() as proxy:
        proxy.answer = lambda _: b"HTTP/1.1 403 Forbidden\r\n\r\n" if len(proxy.requests) == 1 else None
        driver.client(**secure(authority, "tunnelled.test", proxy=f"http://{proxy.address}", connect_timeout_ms=60_000))
        outcome = driver.call("environments.list", {"timeout_ms": 120_000})
        assert outcome.status == CONNECTION and f"{proxy.address} opened no tunnel" in outcome.json["message"], outcome
        assert len(proxy.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"\x16\x03\x01\x00\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
    ids=lambda reply: repr(reply[:20]),
)
def test_nonsense_from_a_proxy_is_a_failure_to_connect(reply: bytes, authority: Authority, driver: Driver) -> None:
    with Blunt(reply, holds=False) as proxy:
        driver.client(**secure(authority, "tunnelled.test", proxy=f"http://{proxy.address}"))
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and proxy.address in outcome.json["message"], outcome


@pytest.mark.parametrize(
    ("scheme", "reply"),
    [("http", b""), ("http", b"HTTP/1.1 200 OK\r\n"), ("socks5h", b""), ("socks5h", b"\x05"), ("socks5h", b"\x05\x00")],
)
def test_a_proxy_that_says_no_more_is_given_up_within_the_connect_timeout(
    scheme: str, reply: bytes, authority: Authority, driver: Driver
) -> None:
    with Blunt(reply, holds=True) as proxy:
        config = secure(authority, "tunnelled.test", proxy=f"{scheme}://{proxy.address}", connect_timeout_ms=700)
        driver.client(**config, timeout_ms=120_000, attempt_timeout_ms=110_000)
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and "700 ms" in outcome.json["message"], outcome


def test_plain_http_goes_to_the_proxy_as_it_is(driver: Driver) -> None:
    with Http1Server() as proxy:
        driver.client(**insecure("api.test", proxy=f"http://{login(proxy.address)}"))
        assert driver.call("environments.list").status == OK
        assert proxy.requests[0].target == "http://api.test/v1/environments"
        known = "Basic " + base64.b64encode(LOGIN.encode()).decode()
        assert proxy.requests[0].headers["proxy-authorization"] == known


# --- the environment ---


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "value",
    [
        "ftp://127.0.0.1:21",
        "nonsense://x",
        "http://",
        "http://[",
        "http://:3128",
        "http://a b:1",
        "http://x:99999",
    ],
)
def test_a_variable_that_cannot_be_used_is_named_and_never_passed_over(
    name: str, value: str, authority: Authority, driver_program: Path
) -> None:
    with Driver(driver_program, environment={name: value}) as driver:
        outcome = driver.client(**secure(authority, "tunnelled.test"))
        assert outcome.status == CONFIG and name in outcome.json["message"], outcome
    with Driver(
        driver_program, environment={name: value.replace("://", f"://user:{quote(PASSWORD, safe='')}@")}
    ) as driver:
        hides(driver.client(**secure(authority, "tunnelled.test")), whole=LOGIN)


def test_a_variable_for_other_schemes_or_other_hosts_does_not_matter(
    authority: Authority, driver_program: Path
) -> None:
    with Http1Server() as server:
        for variables in ({"HTTP_PROXY": "ftp://x"}, {"ALL_PROXY": "ftp://x"}, {"HTTPS_PROXY": "ftp://x"}):
            with Driver(driver_program, environment=variables) as driver:
                # This machine is reached without a proxy, whatever the environment says.
                assert driver.client(api_key="k", base_url=server.url).status == OK
                assert driver.call("environments.list").status == OK
        with Driver(driver_program, environment={"HTTP_PROXY": "ftp://x"}) as driver:
            assert driver.client(**secure(authority, "tunnelled.test")).status == OK


@pytest.mark.parametrize("by", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("excluded", "host"),
    [
        *(("*", host) for host in ("10.255.255.1", "[fd00::ffff]", "nowhere.invalid")),
        (" * ", "10.255.255.1"),
        ("a.test, nowhere.invalid", "nowhere.invalid"),
        (".invalid", "nowhere.invalid"),
        ("10.0.0.0/8", "10.255.255.1"),
    ],
)
def test_an_excluded_host_is_never_requested_through_a_proxy(
    by: str, excluded: str, host: str, driver_program: Path
) -> None:
    with ConnectProxy() as proxy, SocksProxy() as socks:
        for variables in ({"HTTP_PROXY": f"http://{proxy.address}"}, {"ALL_PROXY": f"socks5h://{socks.address}"}):
            with Driver(driver_program, environment={**variables, by: excluded}) as driver:
                assert driver.client(**insecure(host, connect_timeout_ms=300)).status == OK
                # It does not matter whether there is a server.
                driver.call("environments.list")
        assert (proxy.accepted, socks.accepted) == (0, 0)


def test_the_environment_is_read_when_a_client_is_made_and_not_later(driver: Driver) -> None:
    with ConnectProxy() as proxy:
        driver.client(**insecure("nowhere.invalid"))
        assert driver.call("environments.list").status == CONNECTION
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            assert driver.run("setenv", name, f"http://{proxy.address}").status == OK
        # What serves the old client is replaced after this.
        assert driver.run("shutdown", "0").status == OK
        assert driver.call("environments.list").status == CONNECTION
        assert proxy.accepted == 0
        driver.client(**insecure("nowhere.invalid"))
        driver.call("environments.list")
        assert proxy.accepted == 1


def test_what_the_variable_said_then_still_holds_when_the_pool_is_replaced(driver_program: Path) -> None:
    with (
        Http1Server() as proxy,
        Driver(driver_program, environment={"http_proxy": f"http://{proxy.address}"}) as driver,
    ):
        driver.client(**insecure("nowhere.invalid"))
        assert driver.call("environments.list").status == OK
        assert driver.run("setenv", "http_proxy", "").status == OK
        assert driver.run("shutdown", "0").status == OK
        assert driver.call("environments.list").status == OK
        assert len(proxy.requests) == 2
