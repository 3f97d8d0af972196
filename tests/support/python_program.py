"""A program that uses the Python package's clients and workers, blocking and awaited, with the emulator it is given."""

from __future__ import annotations

PROGRAM = """
import asyncio, sys
from dataclasses import dataclass
from typing import Literal, Optional
import antenv
with antenv.Client(api_key="k", base_url=sys.argv[1]) as client:
    made = client.environments.create(name="n", config={"type": "cloud"})
    assert made in list(client.environments.list(limit=1))
    assert client.environments.with_raw_response.retrieve(made.id).parse() == made
    try:
        client.environments.retrieve("env_missing")
        raise SystemExit("no error")
    except antenv.NotFoundError as error:
        assert error.error_code == "environment_not_found"
    hosts = client.environments.create(name="h", config={"type": "self_hosted"}).id
    served = []
    def enqueue():
        client.request("POST", "/_emulator/work", body={"environment_id": hosts, "count": 4})
    enqueue()
    # A machine that is busy may acknowledge an item too late: then the next worker gets it.
    while len({lease.id for lease in served}) < 4:
        client.environments.worker(hosts, environment_key="k", drain=True, concurrency=2).run(served.append)
    enqueue()
@dataclass
class Point:
    x: int
def repeat(text: str, times: Literal[1, 2] = 1, point: Optional[Point] = None) -> dict:
    return {"text": text * times, "point": point}
def calls(name):
    call = {"custom_tool": name, "input": {"text": "ab", "times": 2, "point": {"x": 1}}}
    steps = [call, {"wait": "results"}, {"terminate": True}]
    client = antenv.Client(api_key="k", base_url=sys.argv[1])
    client.request("POST", "/_emulator/scripts", body={"environment_id": hosts, "steps": steps})
    client.request("POST", "/_emulator/work", body={"environment_id": hosts})
def answered():
    reports = antenv.Client(api_key="k", base_url=sys.argv[1]).request("GET", "/_emulator/scripts")["data"]
    answers = [call["attempts"] for report in reports for call in report["calls"]]
    return [attempts[0]["content"][0]["text"] for attempts in answers if attempts]
async def serve(lease):
    served.append(lease)
async def main():
    async with antenv.AsyncClient(api_key="k", base_url=sys.argv[1]) as client:
        results = await asyncio.gather(*(client.environments.retrieve(made.id) for _ in range(100)))
        assert all(result == made for result in results)
        assert made in [one async for one in client.environments.list()]
        while len({lease.id for lease in served}) < 8:
            await client.environments.worker(hosts, environment_key="k", drain=True, concurrency=2).run(serve)
        calls("awaited")
        while len(answered()) < 1:
            await client.environments.worker(hosts, environment_key="k", drain=True).run(tools=[repeat, awaited])
async def awaited(text: str, times: int, point: Point):
    return repeat(text, times, point)
asyncio.run(main())
calls("repeat")
client = antenv.Client(api_key="k", base_url=sys.argv[1])
while len(answered()) < 2:
    client.environments.worker(hosts, environment_key="k", drain=True).run(tools=[repeat])
assert answered() == ['{"text": "abab", "point": {"x": 1}}'] * 2, answered()
print("as it should be")
"""
