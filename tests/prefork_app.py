"""A program that makes a client, uses it, and only then forks: as a WSGI application for gunicorn, or by itself.

By itself: python prefork_app.py pool | thread. Needs ANTENV_LIBRARY and ANTENV_URL in the environment.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

Pointer = ctypes.c_void_p


class Completion(ctypes.Structure):
    """antenv_completion."""

    _fields_ = (("tag", ctypes.c_uint64), ("status", ctypes.c_int32), ("json", Pointer))


library = ctypes.CDLL(os.environ["ANTENV_LIBRARY"])
library.antenv_environments_list.argtypes = [Pointer, ctypes.c_char_p, Pointer]
library.antenv_submit.argtypes = [Pointer, Pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64, Pointer, Pointer]
library.antenv_queue_next.argtypes = [Pointer, ctypes.c_int64, Pointer]
library.antenv_string_free.argtypes = [Pointer]
client, queue = Pointer(), Pointer()
config = json.dumps({"api_key": "k", "base_url": os.environ["ANTENV_URL"], "timeout_ms": 20_000}).encode()
assert library.antenv_client_new(config, ctypes.byref(client), None) == 0
assert library.antenv_queue_new(ctypes.byref(queue), None) == 0


def use(_: int = 0) -> int:
    """Makes a call that blocks and one through the queue; gives the number of this process."""
    text, done = Pointer(), Completion()
    assert library.antenv_environments_list(client, None, ctypes.byref(text)) == 0
    library.antenv_string_free(text)
    assert library.antenv_submit(client, queue, b"environments.list", None, 7, None, None) == 0
    assert library.antenv_queue_next(queue, 20_000, ctypes.byref(done)) == 0
    assert (done.tag, done.status) == (7, 0)
    library.antenv_string_free(done.json)
    return os.getpid()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the number of the worker."""
    answer = str(use()).encode()
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(len(answer)))])
    return [answer]


def fork_in_a_thread() -> None:
    """Forks where the call of another thread is under way, too."""

    def fork() -> None:
        child = os.fork()
        if child == 0:
            use()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        use()

    threads = [threading.Thread(target=target) for target in (fork, use, fork, fork)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


use()
if __name__ == "__main__":
    if sys.argv[1] == "pool":
        with multiprocessing.get_context("fork").Pool(4) as pool:
            numbers = set(pool.map(use, range(40), chunksize=1))
        assert os.getpid() not in numbers
        use()
    else:
        fork_in_a_thread()
    print("as it should be")
