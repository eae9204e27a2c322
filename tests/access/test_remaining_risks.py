"""What docs/access.md names as remaining risks is so: an end of one of them is to be noticed there, too."""

import json
from collections.abc import AsyncIterator

import pytest
from nats.js import JetStreamContext

from app.fleet.stream_guard import provisioning
from app.settings import Settings
from app.storage.jetstream.streams import all_stream_configs
from tests.access.servers import CLIENTS, GuardedNats, connected
from tests.waiting import eventually

SETTINGS = Settings(_env_file=None)
STREAMS = [str(config.name) for config in all_stream_configs(SETTINGS) if config.name != "OBJ_results"]


@pytest.fixture
async def service(guarded: GuardedNats) -> AsyncIterator[JetStreamContext]:
    async with connected(guarded, "service") as connection:
        js = connection.jetstream()
        await provisioning.provision(js, SETTINGS)
        yield js


async def test_who_knows_an_id_beforehand_makes_the_task_a_duplicate(
    guarded: GuardedNats, service: JetStreamContext
) -> None:
    async with connected(guarded, "publisher") as connection:
        js = connection.jetstream()
        # Given a message that somebody has published with the id of the next task
        await js.publish("tasks.transcription.low", b"{}", headers={"Nats-Msg-Id": "t1"})
        # When the task is published, then it is a duplicate
        task = json.dumps({"task_id": "t1", "audio_file_id": "a", "user_id": 1}).encode()
        assert (await js.publish("tasks.transcription.high", task, headers={"Nats-Msg-Id": "t1"})).duplicate
    assert (await service.stream_info("transcription_tasks")).state.messages == 1


async def copied(service: JetStreamContext) -> set[str]:
    """The streams that have something of a large result."""
    infos = [await service.stream_info(stream, subjects_filter="$O.results.>") for stream in STREAMS]
    return {str(info.config.name) for info in infos if info.state.subjects}


@pytest.mark.parametrize("user", CLIENTS)
async def test_a_reader_can_copy_large_results_to_two_streams(
    guarded: GuardedNats, service: JetStreamContext, user: str
) -> None:
    # Given a large result
    await service.publish("$O.results.C.t1", b"text")
    # When a reader has consumers deliver it to each subject that a stream of the service stores
    async with connected(guarded, user) as client:
        inbox = await client.subscribe(client.new_inbox())
        stored = [subject for config in all_stream_configs(SETTINGS) for subject in config.subjects or ()]
        for subject in (*stored, inbox.subject):
            config = {"deliver_subject": subject.replace("*", "x").replace(">", "x"), "ack_policy": "none"}
            body = json.dumps({"stream_name": "OBJ_results", "config": config}).encode()
            await client.request("$JS.API.CONSUMER.CREATE.OBJ_results", body, timeout=10)
        await inbox.next_msg(timeout=10)
    # Then two streams have copies
    expected = {"transcription_tasks", "transcription_dead_letters"}

    async def are_copied() -> bool:
        return await copied(service) >= expected

    await eventually(are_copied)
    assert await copied(service) == expected
