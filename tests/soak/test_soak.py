"""Short soaks: faults, processes that stand still or are killed, connections that fall silent. `make soak` runs longer
ones."""

from __future__ import annotations

import pytest

from soak import fleet, sessions
from soak.world import Harm

pytestmark = [pytest.mark.deep, pytest.mark.transports]


@pytest.mark.parametrize(
    "harm",
    [Harm(kills=False), Harm(kills=False, stops=False, freeze=5)],
    ids=["that stand still", "whose connections fall silent"],
)
def test_workers_serve_each_item_once_in_a_bad_world(harm: Harm) -> None:
    figures = fleet.soak(items=200, seconds=12, seed=5, harm=harm)
    assert figures["items"] >= 200
    assert figures["finished once, by a holder that had its lease"] == figures["items"]


@pytest.mark.parametrize(
    "harm",
    [Harm(), Harm(kills=False, freeze=10)],
    ids=["of killed processes", "of silent connections"],
)
def test_workers_serve_each_session_to_its_end_in_a_bad_world(harm: Harm) -> None:
    figures = sessions.soak(items=20, seconds=25, seed=5, harm=harm)
    assert figures["sessions"] >= 20
    assert figures["calls: answered"] > 200
