"""Holds many polls of a work queue open at once, in one thread, and cancels the last of them.

python many.py 1000
Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
"""

import asyncio
import sys
import threading

import antenv


async def main(many: int) -> None:
    async with antenv.AsyncClient() as client:
        queue = await client.environments.create(name="many polls", config={"type": "self_hosted"})
        polls = [asyncio.ensure_future(client.environments.work.poll(queue.id, block_ms=999)) for _ in range(many)]
        while client.stats()["calls"]["started"] <= many:
            await asyncio.sleep(0.01)
        print(f"{many} polls, {threading.active_count()} Python thread")
        polls[-1].cancel()  # and with it the call
        items = await asyncio.gather(*polls, return_exceptions=True)
        print(f"work: {sum(isinstance(item, antenv.types.Work) for item in items)}, none: {items.count(None)}")
        print(f"cancelled: {sum(isinstance(item, asyncio.CancelledError) for item in items)}")
        await client.environments.delete(queue.id)


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
