"""The streams, consumers and buckets: their names, their settings, and their making at start."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress

import structlog
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    ObjectStoreConfig,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BucketNotFoundError, NotFoundError

from app.settings import Settings
from schemas import subjects
from schemas.stream_names import StreamNames
from schemas.wire import Kind, Priority

DAY = 24 * 3600.0
EXPIRES_AFTER = 7 * DAY
RESULTS_KEPT = 7 * DAY
RESULTS_BUCKET = "results"
LANE_FULL = 10077  # err_code of nats-server: no more messages of this subject
DUPLICATES_WITHIN = 120.0  # seconds: what nats-server does by itself, said so that clients can be told

log = structlog.get_logger()


def names(settings: Settings) -> StreamNames:
    """How this deployment calls its streams and consumers."""
    return StreamNames(
        tasks=settings.nats_stream_name,
        progress=f"{settings.stem}_progress",
        segments=f"{settings.stem}_segments",
        results=f"{settings.stem}_results",
        dead_letters=f"{settings.stem}_dead_letters",
        consumer_stem=settings.nats_consumer_name,
    )


def lane_subjects() -> list[str]:
    """The literal subjects of the work queue."""
    return [subjects.tasks(kind, priority) for priority in Priority for kind in Kind]


def stream_configs(settings: Settings) -> Iterator[StreamConfig]:
    """What the streams should be like."""
    called = names(settings)
    yield StreamConfig(
        name=called.tasks,
        subjects=lane_subjects(),
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,  # without it a full lane drops its oldest task without a word
        max_msgs_per_subject=settings.nats_max_msgs_per_subject,
        max_age=EXPIRES_AFTER + DAY,
        duplicate_window=DUPLICATES_WITHIN,
        republish=RePublish(src=subjects.ALL_TASKS, dest=subjects.ALL_ACCEPTED),
        allow_direct=True,
    )
    yield _kept(called.progress, [subjects.ALL_PROGRESS], 8 * DAY)
    yield _kept(called.segments, [subjects.ALL_SEGMENTS], 8 * DAY)
    yield _kept(called.results, [subjects.ALL_RESULTS], RESULTS_KEPT)
    letters = _kept(called.dead_letters, [subjects.dead_letters(kind) for kind in Kind], 30 * DAY)
    letters.duplicate_window = EXPIRES_AFTER + DAY  # one letter a message, however late its next delivery
    yield letters


def _kept(name: str, heard: list[str], max_age: float) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=heard,
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=max_age,
        duplicate_window=DUPLICATES_WITHIN,
        allow_direct=True,
        allow_atomic=True,
    )


def consumer_configs(settings: Settings) -> Iterator[tuple[str, ConsumerConfig]]:
    """What the durable consumers should be like, each with its stream."""
    called = names(settings)
    for priority in Priority:
        for kind in Kind:
            yield called.tasks, _durable(called.lane(kind, priority), subjects.tasks(kind, priority), settings)
    for stream, durable, subject in (
        (called.progress, called.progress_projection, subjects.ALL_PROGRESS),
        (called.results, called.results_projection, subjects.ALL_RESULTS),
    ):
        yield stream, _durable(durable, subject, settings, begin_with=DeliverPolicy.LAST_PER_SUBJECT)


def _durable(
    name: str, subject: str, settings: Settings, *, begin_with: DeliverPolicy = DeliverPolicy.ALL
) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=name,
        filter_subject=subject,
        deliver_policy=begin_with,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.task_ack_wait,
        max_ack_pending=-1,  # tasks that wait to be tried again must not close their lane
        max_deliver=-1,  # attempts are counted in the log; a message past its deliveries would be stranded
    )


def bucket_configs(settings: Settings) -> Iterator[ObjectStoreConfig]:
    """What the Object Store buckets should be like."""
    yield ObjectStoreConfig(bucket=RESULTS_BUCKET, ttl=RESULTS_KEPT)
    if settings.audio_store.startswith("nats://"):
        bucket = settings.audio_store.removeprefix("nats://")
        yield ObjectStoreConfig(bucket=bucket, ttl=settings.audio_ttl or None)


async def missing(js: JetStreamContext, settings: Settings) -> list[str]:
    """The streams, consumers and buckets that are not there (any more)."""
    wanted: list[tuple[str, Awaitable[object]]] = [
        (str(stream.name), js.stream_info(str(stream.name))) for stream in stream_configs(settings)
    ]
    for stream_name, consumer in consumer_configs(settings):
        name = str(consumer.durable_name)
        wanted.append((name, js.consumer_info(stream_name, name)))
    buckets = [str(bucket.bucket) for bucket in bucket_configs(settings)]
    wanted += [(bucket, js.object_store(bucket)) for bucket in buckets]
    found = await asyncio.gather(*(look for _, look in wanted), return_exceptions=True)
    for answer in found:
        if isinstance(answer, BaseException) and not isinstance(answer, NotFoundError):
            raise answer
    return [name for (name, _), answer in zip(wanted, found, strict=True) if isinstance(answer, NotFoundError)]


async def events_made_at(js: JetStreamContext, settings: Settings) -> str:
    """When the stream of events was made: its sequences began then."""
    return str((await js.stream_info(names(settings).progress)).created)


async def project_anew(js: JetStreamContext, settings: Settings) -> None:
    """Have the projections begin again, with the last event of each task and all results."""
    called = names(settings)
    for stream, durable in (
        (called.progress, called.progress_projection),
        (called.results, called.results_projection),
    ):
        with suppress(NotFoundError):
            await js.delete_consumer(stream, durable)
    for stream_name, consumer in consumer_configs(settings):
        await _ensure_consumer(js, stream_name, consumer)


async def provision(js: JetStreamContext, settings: Settings) -> set[str]:
    """Make what is missing, never alter what is there, but log how it differs; the consumers that were made."""
    for stream in stream_configs(settings):
        await _ensure_stream(js, stream)
    made = {
        str(consumer.durable_name)
        for stream_name, consumer in consumer_configs(settings)
        if await _ensure_consumer(js, stream_name, consumer)
    }
    for bucket in bucket_configs(settings):
        await _ensure_bucket(js, bucket)
    return made


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    try:
        info = await js.stream_info(str(wanted.name))
    except NotFoundError:
        await js.add_stream(wanted)
    else:
        _log_differences(str(wanted.name), wanted.as_dict(), info.config.as_dict())


async def _ensure_consumer(js: JetStreamContext, stream: str, wanted: ConsumerConfig) -> bool:
    name = str(wanted.durable_name)
    try:
        info = await js.consumer_info(stream, name)
    except NotFoundError:
        await js.add_consumer(stream, wanted)
        return True
    _log_differences(name, wanted.as_dict(), info.config.as_dict())
    return False


async def _ensure_bucket(js: JetStreamContext, wanted: ObjectStoreConfig) -> None:
    try:
        found = await (await js.object_store(str(wanted.bucket))).status()
    except (BucketNotFoundError, NotFoundError):
        await js.create_object_store(str(wanted.bucket), config=wanted)
    else:
        _log_differences(str(wanted.bucket), {"ttl": wanted.ttl or 0}, {"ttl": found.ttl})


def _log_differences(name: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> None:
    for key, value in wanted.items():
        if value is not None and _meant(found.get(key)) != _meant(value):
            log.warning("configuration_differs", of=name, setting=key, wanted=value, found=found.get(key))


def _meant(value: object) -> object:
    """NATS says `no limit` and `no` in several ways."""
    return None if value in (0, -1, False, "", ()) or value == [] else value
