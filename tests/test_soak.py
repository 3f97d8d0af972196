"""A short soak: faults, and processes that stand still. `make soak` runs a longer one, in which they are killed too."""

from __future__ import annotations

import soak


def test_workers_in_three_languages_serve_each_item_once_in_a_bad_world() -> None:
    figures = soak.soak(items=200, seconds=12, seed=5, kills=False)
    assert figures["items"] >= 200
    assert figures["finished once, by a holder that had its lease"] == figures["items"]
