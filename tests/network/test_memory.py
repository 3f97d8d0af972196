"""Memory that runs out while an answer is read: an error, never the end of the process."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from support.driver import Driver
from support.http1 import Exchange, Http1Server, response

OK, RESPONSE, INTERNAL = 0, 7, 11
SIZE = 50 << 20
LARGE = b'"' + b"a" * SIZE + b'"'


def chunked(body: bytes, status: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    pieces = (body[start : start + (1 << 16)] for start in range(0, len(body), 1 << 16))
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("megabytes", [20, 40, 60, 80, 110, 140, 180])
@pytest.mark.parametrize("kind", ["whole", "chunked", "with_response", "error"])
def test_memory_that_runs_out_under_an_answer_is_an_error(megabytes: int, kind: str, driver_program: Path) -> None:
    """So much is left when the answer of 50 MB comes; afterwards the same client works, in the same process."""

    def answer(exchange: Exchange) -> bytes:
        if "large" not in exchange.request.target:
            return response()
        status = "500 Oops" if kind == "error" else "200 OK"
        return chunked(LARGE, status) if kind == "chunked" else response(LARGE, status)

    with Http1Server(answer) as server, Driver(driver_program) as driver:
        assert driver.client(api_key="k", base_url=server.url, max_retries=0).status == OK
        assert driver.call("environments.list").status == OK
        pages = int(Path(f"/proc/{driver.pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (megabytes << 20)
        resource.prlimit(driver.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        outcome = driver.request("GET", "/large", {"with_response": True} if kind == "with_response" else None)
        # The answer may fit or not: what counts is that the library reports it if not.
        assert outcome.status in ({111, RESPONSE} if kind == "error" else {OK, RESPONSE}), outcome.status
        if outcome.status == RESPONSE:
            assert "memory" in outcome.json["message"], outcome.json["message"]
        assert driver.call("environments.list").status == OK
