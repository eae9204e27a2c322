"""Provisioning: creates missing streams and consumers, and restores the settings that the service needs."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError
from natscribe.schemas.workers import Problem

from app.fleet.stream_guard.resources import Config, Difference, Info, Resource, all_resources
from app.fleet.stream_guard.strays import append_strays
from app.settings import Settings
from app.storage.jetstream import streams
from app.storage.jetstream.connection import StartError, TooFewServersError
from app.storage.jetstream.lease import FLEET_STREAM, Confirm, unfenced
from app.storage.jetstream.slots import SlotPool

CREATION_REFUSED: Final = "NATS refuses to create the {kind} {name} ({reason})"
FREE_SUBJECTS: Final = "Delete the stream that has its subjects (nats stream ls --subjects, nats stream rm NAME)"
CHANGE_REFUSED = (
    "The {kind} {name} is not as the service needs it ({settings}), and NATS refuses to change it: {reason}"
)
DELETE_STREAM: Final = (
    "Stop the program that created the stream in this form, back up what you need (nats stream backup {name} FOLDER), "
    "and delete the stream (nats stream rm {name}): the service creates it again within seconds"
)
DELETE_CONSUMER: Final = (
    "Delete the consumer (nats consumer rm {stream} {name}): the service creates it again within seconds, and no task "
    "is lost"
)
VALUE_KEPT: Final = "it accepts the change, and keeps its own value"
PAUSED: Final = "The consumer {name} of the stream {stream} is paused and delivers nothing"
RESUME: Final = "Resume the consumer (nats consumer resume {stream} {name})"
FILLED: Final = 80  # percent of the bytes that a stream may hold
FILLED_UP: Final = f"The stream {{name}} is more than {FILLED} % full, and refuses new messages when it is full"
MAKE_ROOM: Final = "Allow it more bytes (nats stream edit {name} --max-bytes BYTES), or delete tasks that nobody needs"
CHANGE_REPLICAS: Final = "nats stream edit {stream} --replicas {replicas}"
TOO_FEW_CODES: Final = {10005, 10074}  # err_codes of nats-server: no suitable peers; replicas without a cluster
ALREADY_THERE: Final = 10058  # err_code: another worker has created a stream of this name
NOT_FOUND, UNAVAILABLE = 404, 503  # codes of errors that pass

log = structlog.get_logger()


class StreamError(StartError):
    """NATS refuses to create a stream or consumer of the service."""

    def __init__(self, resource: str, problem: Problem) -> None:
        super().__init__(f"{problem.what}. {problem.next_step}.")
        self.resource = resource
        self.problem = problem


class Inspection(NamedTuple):
    """The state of all streams and consumers: what is missing, and where settings differ from the configuration.

    `paused`: a problem for each paused consumer. `progress_created_at`: when the stream of progress events was created;
    None: it is missing. `filled`: a problem for each stream that is nearly full. `ack_wait`: after how many seconds
    without a heartbeat JetStream delivers a task again.
    """

    missing: list[str]  # names of streams and consumers
    differences: list[Difference]
    paused: list[Problem]
    progress_created_at: str | None  # a new stream of progress events starts its sequences at 1 again
    filled: list[Problem]  # streams that will soon refuse new messages
    ack_wait: float  # seconds, the shortest of a task queue: existing consumers may have that of an earlier setting

    @property
    def broken(self) -> set[str]:
        """The names of the streams and consumers that are missing, or lack a setting that the service needs."""
        return {*self.missing, *(difference.resource for difference in self.differences if difference.is_needed)}

    @property
    def is_healthy(self) -> bool:
        """Whether all streams and consumers exist, have the settings that the service needs, and are not paused."""
        return not self.broken and not self.paused


async def inspect_streams(js: JetStreamContext, settings: Settings) -> Inspection:
    """Compare all streams and consumers with their configurations, without changing anything.

    Raises:
        NatsError: NATS does not answer.
    """
    existing, missing = await _read_all(list(all_resources(js, settings)))
    progress = settings.stream_names.progress
    return Inspection(
        missing=[resource.name for resource in missing],
        differences=[difference for resource, info in existing for difference in resource.differences(info.config)],
        paused=[_problem(PAUSED, RESUME, resource) for resource, info in existing if _is_paused(info)],
        progress_created_at=next((str(info.created) for stream, info in existing if stream.name == progress), None),
        filled=[_problem(FILLED_UP, MAKE_ROOM, resource) for resource, info in existing if _is_filled(info)],
        ack_wait=_shortest_ack_wait(existing, settings),
    )


def _shortest_ack_wait(existing: list[tuple[Resource, Info]], settings: Settings) -> float:
    names = settings.stream_names
    ready = names.slot_consumer(SlotPool.RECORDINGS)
    waits = [info.config.ack_wait for queue, info in existing if queue.name == ready and isinstance(info, ConsumerInfo)]
    return min(filter(None, [settings.task_ack_wait, *waits]))


async def _read_all(resources: Sequence[Resource]) -> tuple[list[tuple[Resource, Info]], list[Resource]]:
    """Return the existing streams and consumers, each with its information from NATS, and the missing ones."""

    async def read(resource: Resource) -> Info | None:
        try:
            return await resource.read()
        except NotFoundError:
            return None

    infos = list(zip(resources, await asyncio.gather(*map(read, resources)), strict=True))
    existing = [(resource, info) for resource, info in infos if info is not None]
    return existing, [resource for resource, info in infos if info is None]


def _problem(what: str, next_step: str, resource: Resource, **details: str) -> Problem:
    names = {"kind": resource.kind, "name": resource.name, "stream": resource.stream}
    return Problem(what=what.format(**names, **details), next_step=next_step.format(**names))


def _is_paused(info: Info) -> bool:
    return isinstance(info, ConsumerInfo) and bool(info.paused)


def _is_filled(info: Info) -> bool:
    """Return whether a stream holds more than FILLED percent of the bytes that it may hold."""
    if not isinstance(info, StreamInfo) or (info.config.max_bytes or 0) <= 0:
        return False
    return 100 * info.state.bytes > FILLED * (info.config.max_bytes or 0)


async def recreate_projection_consumers(
    js: JetStreamContext, settings: Settings, *, confirm: Confirm = unfenced
) -> None:
    """Recreate the consumers that feed Redis, so that JetStream delivers the last message of each subject again.

    Redis thus gets the current state of all tasks. `confirm` is called before each change, and raises an error to
    prevent it.
    """
    projections = {settings.stream_names.progress_projection, settings.stream_names.results_projection}
    for stream, consumer in streams.consumer_configs(settings):
        if consumer.durable_name in projections:
            await confirm()
            with suppress(NotFoundError):
                await js.delete_consumer(stream, str(consumer.durable_name))
            await confirm()
            await js.add_consumer(stream, consumer)


async def provision(
    js: JetStreamContext,
    settings: Settings,
    *,
    confirm: Confirm = unfenced,
    names: Collection[str] | None = None,
) -> dict[str, Problem]:
    """Create missing streams and consumers, restore the settings that the service needs, and log other differences.

    Return the changes that NATS has refused, by the name of the stream or consumer.

    `confirm` is called before each change, and raises an error to prevent it. `names`: the only streams and consumers
    to create or restore; None: all.

    Raises:
        NatsError: NATS does not answer, or `confirm` has prevented a change.
        StreamError: NATS refuses to create a stream or consumer.
    """
    problems: dict[str, Problem] = {}
    resources = [resource for resource in all_resources(js, settings) if names is None or resource.name in names]
    existing, missing = await _read_all(resources)
    for resource in missing:
        await confirm()
        await _create(resource, settings.nats_replicas)
    # Without the stream of the lease's bucket, nobody can confirm anything.
    for resource, info in sorted(existing, key=lambda found: found[0].name != FLEET_STREAM):
        fence = unfenced if resource.name == FLEET_STREAM else confirm
        problem = await _restore(resource, info.config, confirm=fence)
        if problem is not None:
            problems[resource.name] = problem
        elif isinstance(resource.config, StreamConfig):
            await append_strays(js, resource.config, confirm=confirm)
    return problems


async def _create(resource: Resource, replicas: int) -> None:
    """Create a stream or consumer, unless another worker has just created it.

    Raises:
        StreamError: NATS refuses to create the stream or consumer.
        TooFewServersError: The cluster has too few servers for `replicas`.
    """
    try:
        await resource.create(resource.config)
    except APIError as error:
        if error.err_code == ALREADY_THERE:
            return
        if replicas > 1 and error.err_code in TOO_FEW_CODES:
            raise TooFewServersError(replicas) from error
        if not is_refusal(error):
            raise
        problem = _problem(CREATION_REFUSED, FREE_SUBJECTS, resource, reason=str(error.description))
        raise StreamError(resource.name, problem) from error


async def _restore(resource: Resource, actual: Config, *, confirm: Confirm) -> Problem | None:
    """Restore the settings of a stream or consumer that the service needs; if NATS refuses that, return the problem.

    `actual` is the configuration in NATS. All differences that remain are logged.

    Raises:
        NatsError: NATS does not answer, or `confirm` has prevented the change.
    """
    differences = list(resource.differences(actual))
    needed = {difference.setting: difference.expected for difference in differences if difference.is_needed}
    refused = await _update(resource, actual, needed, confirm) if needed else {}
    if restored := sorted(needed.keys() - refused.keys()):
        log.warning("settings_restored", of=resource.name, settings=restored)
    for difference in differences:
        if difference.setting in refused or not difference.is_needed:
            log_difference(difference)
    if not refused:
        return None
    reason = "; ".join(sorted(set(refused.values())))
    log.error("settings_not_restored", of=resource.name, settings=sorted(refused), reason=reason)
    next_step = DELETE_STREAM if resource.kind == "stream" else DELETE_CONSUMER
    return _problem(CHANGE_REFUSED, next_step, resource, settings=", ".join(refused), reason=reason)


async def _update(resource: Resource, actual: Config, needed: Mapping[str, object], confirm: Confirm) -> dict[str, str]:
    """Change the settings `needed` of a stream or consumer; return why NATS refuses some of them, by their names.

    NATS refuses an update as a whole, so after a refusal each setting is changed by itself.

    Raises:
        NatsError: NATS does not answer, or `confirm` has prevented the change.
    """
    await confirm()
    try:
        kept = (await resource.update(actual.evolve(**needed))).config
    except APIError as error:
        if not is_refusal(error):
            raise
        refused = dict.fromkeys(needed, str(error.description))
        if len(needed) > 1:
            refused = {}
            for setting, value in needed.items():
                refused |= await _update(resource, actual, {setting: value}, confirm)
                actual = actual if setting in refused else actual.evolve(**{setting: value})
        return refused
    # A later nats-server may set a value of its own: sending the same update again and again would not help.
    left = {difference.setting for difference in resource.differences(kept) if difference.is_needed}
    return {setting: VALUE_KEPT for setting in needed if setting in left}


def log_difference(difference: Difference) -> None:
    """Log a setting of a stream or consumer that differs from the service's configuration and stays as it is."""
    name, setting, expected, actual, _ = difference
    hint = {"change": CHANGE_REPLICAS.format(stream=name, replicas=expected)} if setting == "num_replicas" else {}
    log.warning("configuration_difference_found", of=name, setting=setting, expected=expected, actual=actual, **hint)


def is_refusal(error: APIError) -> bool:
    """Return whether `error` is a refusal that NATS would repeat if the same request were sent again.

    Return False, for example, if a worker or an operator has created or deleted the same stream at the same moment.
    """
    return bool(error.err_code) and error.code not in {NOT_FOUND, UNAVAILABLE} and error.err_code != ALREADY_THERE
