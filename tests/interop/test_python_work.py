"""The official Python client, unchanged, on credentials and work.
Where it and the emulator disagree, the emulator is wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from anthropic import Anthropic, AuthenticationError, ConflictError, NotFoundError, PermissionDeniedError
from anthropic.resources.beta.environments import Work
from anthropic.types.beta import BetaEnvironment, BetaInvalidMetadataError
from anthropic.types.beta.environments import BetaHeartbeatPreconditionFailedError

from interop.python_sdk import NO_HEARTBEAT, claim, refused, sessions_token, settings, start
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]


# Credentials


def test_a_credential_that_was_never_issued_is_unknown(strict_emulator: Emulator, hosted: BetaEnvironment) -> None:
    for token in ("sk-ant-oat01-never-issued", "sk-ant-req-never-issued"):
        with Anthropic(auth_token=token, **settings(strict_emulator)) as stranger, refused(AuthenticationError):
            stranger.beta.environments.work.poll(hosted.id)


def test_an_api_key_may_not_list_or_poll_for_work(client: Anthropic, hosted: BetaEnvironment) -> None:
    with refused(PermissionDeniedError):
        client.beta.environments.work.list(hosted.id)
    with refused(PermissionDeniedError):
        client.beta.environments.work.poll(hosted.id)


def test_only_an_api_key_may_look_at_an_item_or_change_it(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    with Anthropic(auth_token=sessions_token(item), **settings(strict_emulator)) as holder:
        for wrong in (work, holder.beta.environments.work):
            with refused(PermissionDeniedError):
                wrong.retrieve(item.id, environment_id=hosted.id)
            with refused(PermissionDeniedError):
                wrong.update(item.id, environment_id=hosted.id, metadata={})


def test_an_environment_key_is_accepted_for_its_own_environment_only(
    client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    other = client.beta.environments.create(name="other", config={"type": "self_hosted"})
    assert work.poll(hosted.id) is None
    with refused(PermissionDeniedError):
        work.poll(other.id)


def test_the_token_in_a_secret_is_accepted_for_its_own_item_only(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id, count=2)
    item, other = claim(work, hosted.id), claim(work, hosted.id)
    with Anthropic(auth_token=sessions_token(item), **settings(strict_emulator)) as holder:
        own = holder.beta.environments.work
        assert own.ack(item.id, environment_id=hosted.id).state == "starting"
        assert own.heartbeat(item.id, environment_id=hosted.id).lease_extended
        assert own.stop(item.id, environment_id=hosted.id).state == "stopping"
        with refused(PermissionDeniedError):
            own.ack(other.id, environment_id=hosted.id)
        with refused(PermissionDeniedError):
            own.stop(other.id, environment_id=hosted.id)


# Work


def test_the_work_of_a_session_goes_from_queued_to_stopped(
    client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    assert work.poll(hosted.id) is None
    session = client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id, title="Interop")
    assert (session.environment_id, session.title, session.agent.id) == (hosted.id, "Interop", "agent_interop")
    assert client.beta.sessions.retrieve(session.id) == session

    claimed = claim(work, hosted.id, anthropic_worker_id="interop", block_ms=999)
    assert claimed.id.startswith("work_")
    assert (claimed.type, claimed.state, claimed.environment_id) == ("work", "queued", hosted.id)
    assert (claimed.data.type, claimed.data.id) == ("session", session.id)
    assert (claimed.metadata, claimed.acknowledged_at, claimed.started_at) == ({}, None, None)
    assert sessions_token(claimed).startswith("sk-ant-req-")
    assert work.poll(hosted.id) is None

    acknowledged = work.ack(claimed.id, environment_id=hosted.id)
    assert (acknowledged.state, acknowledged.secret, acknowledged.started_at) == ("starting", None, None)
    assert acknowledged.acknowledged_at is not None
    assert work.ack(claimed.id, environment_id=hosted.id) == acknowledged

    beat = work.heartbeat(claimed.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    assert (beat.type, beat.state, beat.lease_extended, beat.ttl_seconds) == ("work_heartbeat", "active", True, 300)
    active = client.beta.environments.work.retrieve(claimed.id, environment_id=hosted.id)
    assert (active.state, active.secret, active.latest_heartbeat_at) == ("active", None, beat.last_heartbeat)
    assert active.started_at is not None

    stopping = work.stop(claimed.id, environment_id=hosted.id)
    assert (stopping.state, stopping.stopped_at) == ("stopping", None)
    assert stopping.stop_requested_at is not None
    # The worker learns that it is to stop, whatever it thinks the last heartbeat was.
    reply = work.heartbeat(claimed.id, environment_id=hosted.id, expected_last_heartbeat=beat.last_heartbeat)
    assert (reply.state, reply.lease_extended) == ("stopping", False)
    assert work.heartbeat(claimed.id, environment_id=hosted.id, expected_last_heartbeat="x").state == "stopping"

    stopped = work.stop(claimed.id, environment_id=hosted.id, force=True)
    assert (stopped.state, stopped.stop_requested_at) == ("stopped", stopping.stop_requested_at)
    assert stopped.stopped_at is not None
    assert work.heartbeat(claimed.id, environment_id=hosted.id).state == "stopped"
    for force in (False, True):
        with refused(ConflictError):
            work.stop(claimed.id, environment_id=hosted.id, force=force)
    with refused(ConflictError):
        work.ack(claimed.id, environment_id=hosted.id)
    assert client.beta.environments.work.retrieve(claimed.id, environment_id=hosted.id) == stopped


def test_an_api_key_may_stop_an_item_that_no_worker_has_claimed(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    item = strict_emulator.enqueue(hosted.id)
    assert client.beta.environments.work.stop(item["id"], environment_id=hosted.id, force=True).state == "stopped"
    assert work.poll(hosted.id) is None


def test_the_statistics_follow_the_queue(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    def stats() -> tuple[int, int, str | None, int | None]:
        counted = client.beta.environments.work.stats(hosted.id)
        assert work.stats(hosted.id) == counted
        assert counted.type == "work_queue_stats"
        return counted.depth, counted.pending, counted.oldest_queued_at, counted.workers_polling

    assert stats() == (0, 0, None, 0)
    items = strict_emulator.enqueue(hosted.id, count=3)["data"]
    assert stats() == (3, 0, items[0]["created_at"], 0)
    first = claim(work, hosted.id, anthropic_worker_id="one")
    assert first.id == items[0]["id"]
    assert stats() == (2, 1, items[0]["created_at"], 1)
    work.ack(first.id, environment_id=hosted.id)
    claim(work, hosted.id, anthropic_worker_id="two")
    assert stats() == (1, 1, items[1]["created_at"], 2)
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 31_000})
    assert stats() == (1, 1, items[1]["created_at"], 0)


def test_each_heartbeat_must_echo_the_one_before(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    first = work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    second = work.heartbeat(
        item.id, environment_id=hosted.id, expected_last_heartbeat=first.last_heartbeat, desired_ttl_seconds=60
    )
    assert (second.lease_extended, second.ttl_seconds) == (True, 60)
    assert second.last_heartbeat > first.last_heartbeat

    for outdated in (NO_HEARTBEAT, first.last_heartbeat):
        with refused(BetaHeartbeatPreconditionFailedError) as caught:
            work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=outdated)
        held = caught.value.details.current_state
        assert (held.state, held.last_heartbeat, held.ttl_seconds) == ("active", second.last_heartbeat, 60)
        assert held.lease_extended is False

    unconditional = work.heartbeat(item.id, environment_id=hosted.id)
    assert unconditional.lease_extended


def test_an_item_whose_lease_ran_out_is_handed_out_again(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    beat = work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 1000 * beat.ttl_seconds + 1000})
    with refused(BetaHeartbeatPreconditionFailedError) as caught:
        work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=beat.last_heartbeat)
    held = caught.value.details.current_state
    assert (held.state, held.last_heartbeat) == ("queued", None)
    assert start(work, hosted.id).id == item.id
    assert work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT).state == "active"


def test_an_item_that_was_not_acknowledged_in_time_is_handed_out_again(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    first = claim(work, hosted.id)
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 4000})
    assert work.poll(hosted.id) is None
    second = claim(work, hosted.id, reclaim_older_than_ms=3000)
    assert second.id == first.id
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 6000})
    assert claim(work, hosted.id).id == first.id


def test_a_poll_that_waits_gets_the_item_that_arrives(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(claim, work, hosted.id, block_ms=999)
        while not strict_emulator.control("GET", "/_emulator/connections")["polls_waiting"] and not poll.done():
            pass
        item = strict_emulator.enqueue(hosted.id)
        assert poll.result().id == item["id"]


def test_listing_work_pages_through_everything_newest_first(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    items = strict_emulator.enqueue(hosted.id, count=5)["data"]
    listed = list(work.list(hosted.id, limit=2))
    assert [item.id for item in listed] == [item["id"] for item in items[::-1]]
    assert [item.secret for item in listed] == [None] * 5
    assert listed[0] == client.beta.environments.work.retrieve(listed[0].id, environment_id=hosted.id)
    assert work.list(hosted.id, limit=5).has_next_page() is False


def test_the_metadata_of_an_item_is_merged(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    item = strict_emulator.enqueue(hosted.id, metadata={"kept": "1", "changed": "1", "nulled": "1"})
    operations = client.beta.environments.work
    updated = operations.update(
        item["id"], environment_id=hosted.id, metadata={"changed": "2", "added": "✓", "nulled": None}
    )
    assert updated.metadata == {"kept": "1", "changed": "2", "added": "✓"}
    assert operations.retrieve(item["id"], environment_id=hosted.id) == updated
    with refused(BetaInvalidMetadataError):
        operations.update(item["id"], environment_id=hosted.id, metadata={f"key {n}": "x" for n in range(17)})
    assert operations.retrieve(item["id"], environment_id=hosted.id) == updated


def test_an_unknown_item_is_not_found(client: Anthropic, hosted: BetaEnvironment, work: Work) -> None:
    with refused(NotFoundError):
        client.beta.environments.work.retrieve("work_unknown", environment_id=hosted.id)
    for operation in (work.ack, work.heartbeat, work.stop):
        with refused(NotFoundError):
            operation("work_unknown", environment_id=hosted.id)


def test_an_acknowledgement_whose_reply_was_lost_is_simply_repeated(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = claim(work, hosted.id)
    strict_emulator.take_requests()
    strict_emulator.faults({"operation": "work.ack", "when": "after", "drop": True})
    with Anthropic(auth_token=sessions_token(item), **settings(strict_emulator) | {"max_retries": 1}) as holder:
        acknowledged = holder.beta.environments.work.ack(item.id, environment_id=hosted.id)
    assert acknowledged.state == "starting"
    retries = [request["headers"]["x-stainless-retry-count"] for request in strict_emulator.take_requests()]
    assert retries == ["0", "1"]
