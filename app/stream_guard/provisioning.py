"""Provisioning: create the streams and consumers that are missing, and put back the settings that the service needs.

A bucket is a stream, too. Settings that an operator may choose stay as they are: `differences.py` says which these are.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError
from natscribe.schemas import subjects
from natscribe.schemas.workers import Problem

from app.jetstream import streams
from app.jetstream.connection import StartError, TooFewServersError
from app.settings import Settings
from app.stream_guard.differences import Difference, of_consumer, of_stream
from app.stream_guard.restoration import is_refusal, restore
from app.stream_guard.strays import append_strays

OUTDATED: Final = "A version before 0.2.0 has made these streams: {streams}"
MEND_OUTDATED: Final = "Let that version finish its tasks, delete the streams (nats stream rm NAME), and start again"
NOT_MADE: Final = "NATS refuses to make the stream {stream} ({reason})"
MEND_NOT_MADE: Final = (
    "Look which stream has its subjects (nats stream ls --subjects), and delete that one (nats stream rm NAME)"
)
MEND_STREAM: Final = (
    "Stop the program that made the stream so, keep what you need (nats stream backup {name} FOLDER), and delete the "
    "stream (nats stream rm {name}): the service makes it anew within seconds"
)
MEND_CONSUMER: Final = (
    "Delete the consumer (nats consumer rm {stream} {name}): the service makes it anew within seconds, and no task is "
    "lost"
)
PAUSED: Final = "The consumer {name} of the stream {stream} is paused and delivers nothing"
RESUME: Final = "Resume the consumer (nats consumer resume {stream} {name})"
FILLED: Final = 80  # percent of what a stream may hold
FILLED_UP: Final = "The stream {name} is more than {part} % full, and refuses what comes when it is full"
MAKE_ROOM: Final = "Allow it more bytes (nats stream edit {name} --max-bytes BYTES), or delete tasks that nobody needs"
TOO_FEW_CODES: Final = {10005, 10074}  # err_codes of nats-server: no suitable peers; replicas without a cluster

Info = TypeVar("Info", StreamInfo, ConsumerInfo)


class StreamError(StartError):
    """The service cannot make one of its streams, or cannot use the one that is there."""

    def __init__(self, of: str, what: str, next_step: str) -> None:
        super().__init__(f"{what}. {next_step}.")
        self.of = of
        self.problem = Problem(what=what, next_step=next_step)


class Inspection(NamedTuple):
    """Which streams and consumers NATS has, and how they differ from what the service needs."""

    missing: list[str]  # names of streams and consumers
    differences: list[Difference]
    paused: list[Problem]
    progress_stream_created_at: (
        str | None
    )  # when the stream of progress events was created: its sequences begin at 1 again then
    filled: list[Problem]  # streams that soon refuse what is new

    @property
    def broken(self) -> set[str]:
        """The names of what is missing, or lacks a setting that the service needs."""
        return {*self.missing, *(each.of for each in self.differences if each.needed)}

    @property
    def sound(self) -> bool:
        """Whether everything is there, has the settings that the service needs, and is not paused."""
        return not self.broken and not self.paused


class Provisioned(NamedTuple):
    """What `provision` has created, and what NATS has refused to change."""

    made: set[str]  # names of the consumers that were created
    ack_wait: float  # seconds; existing consumers may still have the value of an earlier setting
    problems: dict[str, Problem]  # what NATS refuses to change, by the name of the stream or consumer


async def inspect_streams(js: JetStreamContext, settings: Settings) -> Inspection:
    """Compare all streams and consumers with their wanted configurations, and change nothing.

    Raises:
        NatsError: NATS does not answer.
    """
    wanted = list(streams.all_stream_configs(settings))
    durables = list(streams.consumer_configs(settings))
    found, consumers = await asyncio.gather(
        asyncio.gather(*(_if_found(js.stream_info(str(each.name))) for each in wanted)),
        asyncio.gather(*(_if_found(js.consumer_info(of, str(each.durable_name))) for of, each in durables)),
    )
    missing, differences, paused = list[str](), list[Difference](), list[Problem]()
    for each, info in zip(wanted, found, strict=True):
        missing += [str(each.name)] if info is None else []
        differences += of_stream(each, info.config) if info else []
    for (of, durable), info in zip(durables, consumers, strict=True):
        name = str(durable.durable_name)
        missing += [name] if info is None else []
        differences += of_consumer(durable, info.config) if info else []
        if info is not None and info.paused:
            what = PAUSED.format(name=name, stream=of)
            paused.append(Problem(what=what, next_step=RESUME.format(name=name, stream=of)))
    created = {info.config.name: str(info.created) for info in found if info is not None}
    filled = [_filled(str(info.config.name)) for info in found if info is not None and _is_filled(info)]
    return Inspection(missing, differences, paused, created.get(settings.stream_names.progress), filled)


def _is_filled(info: StreamInfo) -> bool:
    """Return whether a stream holds more than FILLED percent of the bytes that it may hold."""
    limit = info.config.max_bytes or 0
    return limit > 0 and 100 * info.state.bytes > FILLED * limit


def _filled(name: str) -> Problem:
    return Problem(what=FILLED_UP.format(name=name, part=FILLED), next_step=MAKE_ROOM.format(name=name))


async def progress_stream_created_at(js: JetStreamContext, settings: Settings) -> str:
    """Return when the stream of progress events was created, as text.

    The sequences of a new stream begin at 1 again, so only sequences of one stream can be compared.
    """
    return str((await js.stream_info(settings.stream_names.progress)).created)


async def recreate_projection_consumers(js: JetStreamContext, settings: Settings) -> None:
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


async def provision(
    js: JetStreamContext, settings: Settings, changed_by: Mapping[str, str] = MappingProxyType({})
) -> Provisioned:
    """Create what is missing, put back the settings that the service needs, and log the other differences.

    `changed_by` names the client that has last changed a stream or consumer, as far as it is known.

    Raises:
        NatsError: NATS does not answer.
        StreamError: NATS refuses to create a stream, or a version before 0.2.0 has created one.
    """
    wanted = [(each, await _ensure_stream(js, each)) for each in streams.all_stream_configs(settings)]
    outdated = [str(found.name) for each, found in wanted if _is_outdated(each, found)]
    if outdated:
        raise StreamError(outdated[0], OUTDATED.format(streams=", ".join(outdated)), MEND_OUTDATED)
    problems = {str(each.name): await _restore_stream(js, each, found, changed_by) for each, found in wanted}
    await append_all_strays(js, settings)
    made, ack_wait = set[str](), settings.task_ack_wait
    for of, consumer in streams.consumer_configs(settings):
        existing = await _ensure_consumer(js, of, consumer)
        if existing is None:
            made.add(str(consumer.durable_name))
            continue
        problems[str(consumer.durable_name)] = await _restore_consumer(js, of, consumer, existing, changed_by)
        if of == settings.nats_stream_name and consumer.ack_wait == settings.task_ack_wait:  # of recordings
            ack_wait = min(ack_wait, existing.ack_wait or ack_wait)
    return Provisioned(made, ack_wait, {name: problem for name, problem in problems.items() if problem is not None})


async def append_all_strays(js: JetStreamContext, settings: Settings) -> None:
    """Append the strays of all streams again, except of streams that have no subject transform now.

    Raises:
        NatsError: NATS does not answer.
    """
    for wanted in streams.stream_configs(settings):
        if wanted.subject_transform is not None:
            info = await _if_found(js.stream_info(str(wanted.name)))
            if info is not None and info.config.subject_transform == wanted.subject_transform:
                await append_strays(js, wanted)


async def _if_found(asked: Awaitable[Info]) -> Info | None:
    try:
        return await asked
    except NotFoundError:
        return None


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> StreamConfig:
    """Create the stream if it is missing, and return its configuration.

    A new stream differs from the wanted one if nats-server is too old for some setting.

    Raises:
        StreamError: NATS refuses to create the stream.
        TooFewServersError: The cluster has too few servers for this number of replicas.
    """
    info = await _if_found(js.stream_info(str(wanted.name)))
    if info is not None:
        return info.config
    try:
        return (await js.add_stream(wanted)).config
    except APIError as error:
        if wanted.num_replicas != 1 and error.err_code in TOO_FEW_CODES:
            raise TooFewServersError(wanted.num_replicas or 1) from error
        if not is_refusal(error):
            raise
        what = NOT_MADE.format(stream=wanted.name, reason=error.description)
        raise StreamError(str(wanted.name), what, MEND_NOT_MADE) from error


def _is_outdated(wanted: StreamConfig, found: StreamConfig) -> bool:
    """Return whether the stream is a log that a version before 0.2.0 has made, without append subjects."""
    appends = any(subject.startswith(subjects.append_to("")) for subject in found.subjects or [])
    return wanted.subject_transform is not None and bool(found.allow_atomic) and not appends


async def _ensure_consumer(js: JetStreamContext, stream: str, wanted: ConsumerConfig) -> ConsumerConfig | None:
    """Create the consumer if it is missing; return the configuration of an existing consumer, or None."""
    info = await _if_found(js.consumer_info(stream, str(wanted.durable_name)))
    if info is None:
        await js.add_consumer(stream, wanted)
        return None
    found: ConsumerConfig = info.config
    return found


async def _restore_stream(
    js: JetStreamContext, wanted: StreamConfig, found: StreamConfig, changed_by: Mapping[str, str]
) -> Problem | None:
    name, differences = str(wanted.name), of_stream(wanted, found)

    async def change(settings: Mapping[str, object]) -> None:
        await js.update_stream(found.evolve(**settings))

    mend = MEND_STREAM.format(name=name)
    return await restore(f"The stream {name}", differences, change, mend=mend, by=changed_by.get(name))


async def _restore_consumer(
    js: JetStreamContext, of: str, wanted: ConsumerConfig, found: ConsumerConfig, changed_by: Mapping[str, str]
) -> Problem | None:
    name, differences = str(wanted.durable_name), of_consumer(wanted, found)

    async def change(settings: Mapping[str, object]) -> None:
        await js.add_consumer(of, found.evolve(**settings))

    mend = MEND_CONSUMER.format(stream=of, name=name)
    return await restore(f"The consumer {name}", differences, change, mend=mend, by=changed_by.get(name))
