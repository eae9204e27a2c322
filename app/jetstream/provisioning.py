"""Provisioning: create missing streams, consumers and buckets, and leave the existing ones unchanged."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ObjectStoreConfig, StreamConfig
from nats.js.errors import APIError, BucketNotFoundError, NotFoundError

from app.jetstream import streams
from app.jetstream.connection import StartError, TooFewServersError
from app.jetstream.objects import stream_of
from app.settings import Settings

OUTDATED = (
    "A version before 0.2.0 has made these streams: {streams}. Let it finish its tasks, delete them "
    "(nats stream rm NAME), and start again."
)
TOO_FEW_CODES = {10005, 10074}  # err_codes of nats-server: no suitable peers; replicas without a cluster
CHANGE_REPLICAS = "nats stream edit {stream} --replicas {replicas}"

log = structlog.get_logger()


class Provisioned(NamedTuple):
    """The result of `provision`."""

    made: set[str]  # names of the consumers that were created
    ack_wait: float  # seconds; existing consumers may still have the value of an earlier setting


async def missing(js: JetStreamContext, settings: Settings) -> list[str]:
    """List the names of the streams, consumers and buckets that do not exist.

    Raises:
        NatsError: NATS does not answer.
    """
    wanted: list[tuple[str, Awaitable[object]]] = [
        (str(stream.name), js.stream_info(str(stream.name))) for stream in streams.stream_configs(settings)
    ]
    for stream_name, consumer in streams.consumer_configs(settings):
        name = str(consumer.durable_name)
        wanted.append((name, js.consumer_info(stream_name, name)))
    buckets = [str(bucket.bucket) for bucket in streams.bucket_configs(settings)]
    wanted += [(bucket, js.object_store(bucket)) for bucket in buckets]
    found = await asyncio.gather(*(look for _, look in wanted), return_exceptions=True)
    for answer in found:
        if isinstance(answer, BaseException) and not isinstance(answer, NotFoundError):
            raise answer
    return [name for (name, _), answer in zip(wanted, found, strict=True) if isinstance(answer, NotFoundError)]


async def events_made_at(js: JetStreamContext, settings: Settings) -> str:
    """Return when the stream of progress events was created, as text.

    The sequences of a new stream begin at 1 again, so only sequences of one stream can be compared.
    """
    return str((await js.stream_info(settings.stream_names.progress)).created)


async def project_anew(js: JetStreamContext, settings: Settings) -> None:
    """Restart the projection: create its consumers anew, so that they deliver the last message of each subject."""
    called = settings.stream_names
    for stream, durable in (
        (called.progress, called.progress_projection),
        (called.results, called.results_projection),
    ):
        with suppress(NotFoundError):
            await js.delete_consumer(stream, durable)
    for stream_name, consumer in streams.consumer_configs(settings):
        await _ensure_consumer(js, stream_name, consumer)


async def provision(js: JetStreamContext, settings: Settings) -> Provisioned:
    """Create missing streams, consumers and buckets; log how existing ones differ, without changing them.

    Raises:
        StartError: A stream was created by a version before 0.2.0.
    """
    outdated = [str(stream.name) for stream in streams.stream_configs(settings) if not await _ensure_stream(js, stream)]
    if outdated:
        raise StartError(OUTDATED.format(streams=", ".join(outdated)))
    made, ack_wait = set[str](), settings.task_ack_wait
    for stream_name, consumer in streams.consumer_configs(settings):
        found = await _ensure_consumer(js, stream_name, consumer)
        if found is None:
            made.add(str(consumer.durable_name))
        elif stream_name == settings.nats_stream_name:
            ack_wait = min(ack_wait, found.ack_wait or ack_wait)
    for bucket in streams.bucket_configs(settings):
        await _ensure_bucket(js, bucket)
    return Provisioned(made, ack_wait)


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> bool:
    """Create the stream if it is missing; return whether the stream has this version's subject transform.

    A new stream differs from the wanted one if nats-server is too old for some setting.
    """
    try:
        info = await js.stream_info(str(wanted.name))
    except NotFoundError:
        with _enough_servers(wanted.num_replicas):
            info = await js.add_stream(wanted)
    _log_differences(str(wanted.name), wanted.as_dict(), info.config.as_dict())
    return info.config.subject_transform == wanted.subject_transform


async def _ensure_consumer(js: JetStreamContext, stream: str, wanted: ConsumerConfig) -> ConsumerConfig | None:
    """Create the consumer if it is missing; return the configuration of an existing consumer, or None."""
    name = str(wanted.durable_name)
    try:
        info = await js.consumer_info(stream, name)
    except NotFoundError:
        await js.add_consumer(stream, wanted)
        return None
    found: ConsumerConfig = info.config
    _log_differences(name, wanted.as_dict(), found.as_dict())
    return found


async def _ensure_bucket(js: JetStreamContext, wanted: ObjectStoreConfig) -> None:
    try:
        found = await (await js.object_store(str(wanted.bucket))).status()
    except (BucketNotFoundError, NotFoundError):
        with _enough_servers(wanted.replicas):
            await js.create_object_store(str(wanted.bucket), config=wanted)
    else:
        name = stream_of(str(wanted.bucket))
        _log_differences(str(wanted.bucket), {"ttl": wanted.ttl or 0}, {"ttl": found.ttl})
        _log_differences(name, {"num_replicas": wanted.replicas}, {"num_replicas": found.replicas})


@contextmanager
def _enough_servers(replicas: int | None) -> Iterator[None]:
    """Translate the errors of a cluster that has too few servers for this number of replicas."""
    try:
        yield
    except APIError as error:
        if replicas == 1 or error.err_code not in TOO_FEW_CODES:
            raise
        raise TooFewServersError(replicas or 1) from error


def _log_differences(name: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> None:
    for key, value in wanted.items():
        if value is not None and _meant(found.get(key)) != _meant(value):
            hint = {"change": CHANGE_REPLICAS.format(stream=name, replicas=value)} if key == "num_replicas" else {}
            log.warning(
                "configuration_difference_found", of=name, setting=key, wanted=value, found=found.get(key), **hint
            )


def _meant(value: object) -> object:
    """Return a value, or None for all values by which NATS says `none` or `no limit`, so that they are equal."""
    return None if value in (0, -1, False, "", ()) or value == [] else value
