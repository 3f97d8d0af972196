"""What a soak that leaves the processes alone takes for a lost lease."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from soak import world
from soak.world import Account, Harm

CLAIMED = '2026-11-27T06:25:07.061Z INFO antenv::worker: claimed an item {"work_id":"work_1"}\n'
LOST = '2026-11-27T06:25:25.061Z WARN antenv::worker: a lease is lost {"reason":"expired","work_id":"work_1"}\n'
HELD = [("started", 1), ("heartbeat", 1)]
AGAIN = [("requeued", None), ("started", 2)]


@pytest.mark.parametrize(
    ("events", "logs", "is_lost"),
    [
        pytest.param([*HELD, ("stopped", 1)], CLAIMED, False, id="held once"),
        pytest.param([*HELD, ("stopped", 1)], CLAIMED + LOST, False, id="it did not learn that it stopped the item"),
        pytest.param([*HELD, *AGAIN, ("stopped", 2)], CLAIMED, False, id="the first did not learn that it held it"),
        pytest.param([*HELD, *AGAIN, ("stopped", 2)], CLAIMED * 2, True, id="two held it"),
        pytest.param([*HELD, *AGAIN, ("stopped", 2)], CLAIMED + LOST, True, id="one noticed, another held it"),
    ],
)
def test_a_lease_is_lost_when_another_worker_gets_the_item(
    events: list[tuple[str, int | None]], logs: str, is_lost: bool
) -> None:
    history: list[dict[str, Any]] = [
        {"work_id": "work_1", "event": event, "delivery": delivery, "at": ""} for event, delivery in events
    ]
    expected: AbstractContextManager[object] = (
        pytest.raises(AssertionError, match="work_1") if is_lost else nullcontext()
    )
    with expected:
        world.judge({"work_1": Account(history)}, history, Harm(kills=False, stops=False), logs)
