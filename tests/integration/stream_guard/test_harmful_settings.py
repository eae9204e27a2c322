"""Each setting of each stream and consumer of the service, changed to a harmful value: put back, or reported."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from app.fleet.stream_guard import provisioning
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream import streams
from tests.integration.stream_guard.conftest import is_healthy, reported_problems
from tests.waiting import eventually

Config = dict[str, Any]  # as NATS writes it
Before = dict[tuple[str, str | None], Config]  # by the names of stream and consumer
S = 10**9  # nanoseconds
DAY = 24 * 3600 * S
KV = ("KV_voices", "KV_quotas", "KV_embeddings", "KV_fleet")
TAKES_ALL = ("transcription_tasks", "transcription_live", "OBJ_audio", "OBJ_results", *KV)  # or refuses it
HARMFUL: dict[str, Config] = {
    "short life": {"max_age": 119 * S, "duplicate_window": 100 * S},
    "no life": {"max_age": S // 10, "duplicate_window": S // 10},
    "little room": {"max_bytes": 1, "discard": "new"},
    "little room for new": {"max_bytes": 1, "discard": "old"},
    "one message": {"max_msgs": 1},
    "one message of each subject": {"max_msgs_per_subject": 1},
    "all messages of each subject": {"max_msgs_per_subject": -1},
    "a history": {"max_msgs_per_subject": 64},
    "small messages": {"max_msg_size": 1},
    "one consumer": {"max_consumers": 1},
    "limited consumers": {"consumer_limits": {"max_ack_pending": 1}},
    "short-lived consumers": {"consumer_limits": {"inactive_threshold": S}},
    "no acknowledgement": {"no_ack": True},
    "no deletion": {"deny_delete": True},
    "no purge": {"deny_purge": True},
    "sealed": {"sealed": True},
    "messages with an end": {"allow_msg_ttl": True},
    "markers": {"subject_delete_marker_ttl": S, "allow_msg_ttl": True, "allow_rollup_hdrs": True},
    "no markers": {"allow_msg_ttl": False, "allow_rollup_hdrs": False},
    "rollups": {"allow_rollup_hdrs": True},
    "schedules": {"allow_msg_schedules": True, "allow_rollup_hdrs": True, "discard": "old"},
    "batches": {"allow_atomic": True, "allow_batched": True},
    "counters": {"allow_msg_counter": True},
    "no direct reads": {"allow_direct": False},
    "direct reads of a copy": {"mirror_direct": True},
    "no duplicates found": {"duplicate_window": S // 10},
    "no copies": {"republish": None},
    "other copies": {"republish": {"src": "x.>", "dest": "y.>"}},
    "no transform": {"subject_transform": None},
    "another transform": {"subject_transform": {"src": ">", "dest": "x.>"}},
    "a source": {"sources": [{"name": "a_source"}]},
    "a mirror": {"mirror": {"name": "a_source"}},
    "another first message": {"first_seq": 10**6},
    "in memory": {"storage": "memory"},
    "in memory for a while": {"persist_mode": "async"},
    "until read": {"retention": "interest"},
    "until acknowledged": {"retention": "workqueue"},
    "no limit of each subject": {"discard_new_per_subject": False},
}
SPARED = {  # streams of which an operator may choose that; the bucket of the lease has a test of its own
    "little room": TAKES_ALL,
    "one message of each subject": ("transcription_tasks", *KV),
    "a history": ("transcription_tasks",),
    "sealed": ("KV_fleet",),
}
HARMFUL_TO_CONSUMERS: dict[str, Config] = {
    "another subject": {"filter_subject": "x.*"},
    "the subject in a list": {"filter_subject": None, "filter_subjects": ["x.*"]},
    "no time": {"ack_wait": 1},
    "little time": {"ack_wait": S},
    "one delivery": {"max_deliver": 1},
    "pauses": {"backoff": [S, 2 * S], "max_deliver": 5},
    "one at a time": {"max_ack_pending": 1},
    "few pulls": {"max_waiting": 1},
    "only headers": {"headers_only": True},
    "whole messages": {"headers_only": False},
    "short life": {"inactive_threshold": S},
    "one copy": {"num_replicas": 1},
    "small batches": {"max_batch": 1},
    "short pulls": {"max_expires": 10**6},
    "small pulls": {"max_bytes": 1},
    "pinned": {"priority_policy": "pinned_client", "priority_groups": ["a"], "priority_timeout": 60 * S},
    "overflow": {"priority_policy": "overflow", "priority_groups": ["a"]},
    "prioritized": {"priority_policy": "prioritized", "priority_groups": ["a"]},
    "pushed": {"deliver_subject": "x", "max_waiting": 0},
    "a group": {"deliver_group": "x"},
    "slow": {"rate_limit_bps": 1},
    "as before": {"replay_policy": "original"},
    "in memory": {"mem_storage": True},
    "no acknowledgement": {"ack_policy": "none"},
    "new messages": {"deliver_policy": "new"},
    "a start": {"deliver_policy": "by_start_sequence", "opt_start_seq": 5},
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"audio_store": "nats://audio"})


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator["Admin"]:
    async with await nats.connect(settings.nats_url, name="admin") as connection:
        await connection.jetstream().add_stream(name="a_source", subjects=["a_source"])
        yield Admin(connection)
        await connection.jetstream().delete_stream("a_source")


class Admin:
    """Changes streams and consumers as the command `nats` does, with settings that nats-py does not know."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def config(self, stream: str, consumer: str | None = None) -> Config:
        """The configuration that NATS has, without what it notes itself."""
        name = f"CONSUMER.INFO.{stream}.{consumer}" if consumer else f"STREAM.INFO.{stream}"
        config: Config = (await self._request(name, {}))["config"]
        return {key: value for key, value in config.items() if key != "metadata"}

    async def change(self, change: Config, stream: str, consumer: str | None = None) -> bool:
        """Change some settings; return whether NATS has accepted it."""
        config = {key: value for key, value in {**await self.config(stream, consumer), **change}.items() if value}
        name, request = f"STREAM.UPDATE.{stream}", config
        if consumer:
            name, request = f"CONSUMER.DURABLE.CREATE.{stream}.{consumer}", {"stream_name": stream, "config": config}
        return "error" not in await self._request(name, request)

    async def _request(self, name: str, request: Config) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(
            (await self._nc.request(f"$JS.API.{name}", json.dumps(request).encode())).data
        )
        return reply


def resources(settings: Settings) -> list[tuple[str, str | None]]:
    """All streams and consumers: the name of the stream, and that of the consumer."""
    consumers = [(stream, config.durable_name) for stream, config in streams.consumer_configs(settings)]
    return [*((str(config.name), None) for config in streams.all_stream_configs(settings)), *consumers]


async def remaining(admin: Admin, nc: Client, before: Before) -> list[tuple[str, set[str]]]:
    """Which settings of which streams or consumers are neither as they were before, nor reported as problems."""
    problems = " ".join(problem.what for problem in await reported_problems(nc))
    found = []
    for (stream, consumer), config in before.items():
        now = await admin.config(stream, consumer)
        changed = {key for key in {*now, *config} if now.get(key) != config.get(key)}
        if unreported := {key for key in changed if key not in problems or (consumer or stream) not in problems}:
            found.append((consumer or stream, unreported))
    return found


@pytest.mark.parametrize("harm", HARMFUL)
async def test_a_harmful_setting_of_a_stream_is_put_back_or_reported(
    worker: Worker, settings: Settings, nc: Client, admin: Admin, harm: str
) -> None:
    # Given a running service
    names = [stream for stream, consumer in resources(settings) if consumer is None]
    before: Before = {(stream, None): await admin.config(stream) for stream in names}
    # When an administrator changes a setting of the streams
    for stream in names:
        if stream not in SPARED.get(harm, ()):
            await admin.change(HARMFUL[harm], stream)
    # Then all is soon as it was before, or reported
    await eventually(partial(_is_settled, admin, nc, before))


async def _is_settled(admin: Admin, nc: Client, before: Before) -> bool:
    return not await remaining(admin, nc, before)


@pytest.mark.parametrize("harm", HARMFUL_TO_CONSUMERS)
async def test_a_harmful_setting_of_a_consumer_is_put_back_or_reported(
    worker: Worker, settings: Settings, nc: Client, admin: Admin, harm: str
) -> None:
    # Given a running service
    consumers = [(stream, consumer) for stream, consumer in resources(settings) if consumer is not None]
    before: Before = {(stream, consumer): await admin.config(stream, consumer) for stream, consumer in consumers}
    # When an administrator changes a setting of all consumers
    for stream, consumer in consumers:
        await admin.change(HARMFUL_TO_CONSUMERS[harm], stream, consumer)
    # Then all is soon as it was before, or reported
    await eventually(partial(_is_settled, admin, nc, before))


async def test_a_sealed_bucket_of_the_lease_is_reported(worker: Worker, nc: Client, admin: Admin) -> None:
    # Given a bucket of the lease that stores nothing any more
    assert await admin.change({"sealed": True}, "KV_fleet")

    async def is_reported() -> bool:
        return any("No worker can store the lease" in problem.what for problem in await reported_problems(nc))

    # Then the workers report it
    await eventually(is_reported)


async def test_what_nats_cannot_put_back_hinders_nothing_else(
    worker: Worker, settings: Settings, nc: Client, admin: Admin
) -> None:
    # Given a setting that no update takes back, and another one
    before = await admin.config("transcription_segments")
    assert await admin.change({"allow_msg_ttl": True, "max_msgs": 1, "republish": None}, "transcription_segments")
    # When the service has reported the first one
    (problem,) = await eventually(partial(reported_problems, nc))
    # Then the other one is put back
    assert "(allow_msg_ttl)" in problem.what
    assert await admin.config("transcription_segments") == {**before, "allow_msg_ttl": True}


async def test_streams_and_consumers_of_another_kind_are_reported(settings: Settings, js: JetStreamContext) -> None:
    # Given streams in memory, and consumers with settings that NATS cannot change
    for stream in streams.all_stream_configs(settings):
        await js.add_stream(stream.evolve(storage="memory"))
    wrong = {"max_waiting": 1, "replay_policy": "original", "mem_storage": True}
    consumers: list[ConsumerConfig] = []
    for name, consumer in streams.consumer_configs(settings):
        await js.add_consumer(name, consumer.evolve(**wrong))
        consumers.append(consumer)
    # When the service provisions them, then it reports each
    problems = await provisioning.provision(js, settings)
    for stream in streams.all_stream_configs(settings):
        assert "(storage)" in problems[str(stream.name)].what
    for consumer in consumers:
        what = problems[str(consumer.durable_name)].what
        assert all(setting in what for setting in wrong), what


async def test_what_an_operator_chooses_stays(
    worker: Worker, settings: Settings, js: JetStreamContext, admin: Admin
) -> None:
    # Given an operator's choices
    for stream, consumer in resources(settings):
        assert await admin.change({"description": "of the company", "metadata": {"team": "speech"}}, stream, consumer)
        if consumer is None:
            assert await admin.change({"compression": "s2"}, stream)
        else:
            assert await admin.change({"ack_wait": 20 * S, "sample_freq": "100"}, stream, consumer)
    for stream in ("progress", "segments", "speakers", "results", "dead_letters"):
        assert await admin.change({"max_age": 14 * DAY}, f"transcription_{stream}")
    for stream in ("OBJ_audio", "OBJ_results", "KV_embeddings"):
        assert await admin.change({"max_age": 7 * DAY}, stream)
    assert await admin.change({"max_age": 120 * S}, "transcription_live")
    assert await admin.change({"max_age": 0, "max_msgs_per_subject": 500}, "transcription_tasks")
    for stream in TAKES_ALL:
        assert await admin.change({"max_bytes": 10**6}, stream)
    chosen = {resource: await admin.config(*resource) for resource in resources(settings)}
    # When the service restores another setting of each stream
    for stream, consumer in chosen:
        if consumer is None:
            assert await admin.change({"max_msgs": 10**9}, stream)
    await eventually(partial(is_healthy, js, settings))
    # Then the choices are as they were
    assert {resource: await admin.config(*resource) for resource in chosen} == chosen
