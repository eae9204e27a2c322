"""The streams and durable consumers of the service, and how each differs from the configuration that it should have.

A bucket is a stream, too. The service needs each setting as its configuration has it, except for those that operators
may choose: see `_may_choose`. Settings that this version does not know, for example of a later nats-server, stay.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, NamedTuple

from nats.js import JetStreamContext
from nats.js.api import (
    ConsumerConfig,
    ConsumerInfo,
    DiscardPolicy,
    StreamConfig,
    StreamConsumerLimits,
    StreamInfo,
)
from natscribe.jetstream.streams import LIVE_ACK_WAIT_S, RESULTS_BUCKET, STORED_TASK_TTL_S, TASK_TTL_S

from app.settings import LEAST_LIVE_TTL_S, Settings
from app.storage.jetstream import streams

# Changes to these settings are not even logged: they concern nobody but the operator.
IGNORED: Final = {"name", "description", "metadata", "placement", "compression", "sample_freq", "pause_until"}
LEAST_WAITING: Final = 512  # open pulls of a consumer: the default of nats-server, enough for as many idle workers

Config = StreamConfig | ConsumerConfig
Info = StreamInfo | ConsumerInfo


class Difference(NamedTuple):
    """A setting of a stream or consumer that differs from the configuration of the service."""

    resource: str  # name of the stream or consumer
    setting: str
    expected: object
    actual: object
    is_needed: bool  # whether the service needs the expected value; otherwise an operator may have chosen another one


@dataclass(frozen=True, slots=True)
class Resource:
    """A stream or durable consumer: the configuration that it should have, and functions to read and change it.

    `stream`: the name of the stream or, if this is a consumer, of the consumer's stream. `read`: returns the present
    state. `create`, `update`: send a configuration to NATS.
    """

    kind: str  # "stream" or "consumer"
    name: str
    stream: str
    config: Config
    read: Callable[[], Awaitable[Info]]
    create: Callable[..., Awaitable[object]]
    update: Callable[..., Awaitable[Info]]

    def differences(self, actual: Config) -> Iterator[Difference]:
        """Yield the settings in which `actual`, the configuration in NATS, differs from `config`."""
        for setting in (field.name for field in fields(actual) if field.name not in IGNORED):
            expected, value = getattr(self.config, setting, None), getattr(actual, setting)
            if _normalized(expected) != _normalized(value):
                yield Difference(self.name, setting, expected, value, not _may_choose(self.config, actual, setting))


def all_resources(js: JetStreamContext, settings: Settings) -> Iterator[Resource]:
    """Yield all streams of the service, then the streams behind its buckets, and then its durable consumers."""
    for config in streams.all_stream_configs(settings):
        name = str(config.name)
        yield Resource("stream", name, name, config, partial(js.stream_info, name), js.add_stream, js.update_stream)
    for stream, consumer in streams.consumer_configs(settings):
        # NATS returns configurations with a name; nats-py would then send a request that the service may not send.
        name, add = str(consumer.durable_name), partial(js.add_consumer, stream, name=None)
        yield Resource("consumer", name, stream, consumer, partial(js.consumer_info, stream, name), add, add)


def _may_choose(config: Config, actual: Config, setting: str) -> bool:
    """Return whether an operator may have chosen the value that a setting has in `actual`, instead of that in `config`.

    The other values break a guarantee. A stream that refuses new messages when it is full may have any size, because
    whoever sends one gets an error.
    """
    value: Any = getattr(actual, setting)
    if isinstance(config, ConsumerConfig) or isinstance(actual, ConsumerConfig):
        least = {"ack_wait": LIVE_ACK_WAIT_S, "max_waiting": LEAST_WAITING}.get(setting)
        return least is not None and value >= least
    match setting:
        case "num_replicas":
            return True
        case "max_bytes":
            return config.discard == actual.discard == DiscardPolicy.NEW
        case "max_msgs_per_subject":
            return config.discard_new_per_subject and value > 0
        case "max_age":
            return _may_store_for(config, value or 0)
    return False


def _may_store_for(config: StreamConfig, age: float) -> bool:
    """Return whether an operator may let a stream store messages for `age` seconds (0: for ever).

    A task stays in its queue until it expires, and a recording in its bucket as long as tasks may wait. Other streams
    with a limit keep a limit, and those without one keep everything.
    """
    if config.discard_new_per_subject:
        return age == 0 or age >= STORED_TASK_TTL_S
    if str(config.name).startswith("OBJ_") and config.name != f"OBJ_{RESULTS_BUCKET}":
        return age == 0 or age >= TASK_TTL_S
    is_live = (config.max_msg_size or 0) > 0
    return bool(config.max_age) and age >= (LEAST_LIVE_TTL_S if is_live else TASK_TTL_S)


def _normalized(value: object) -> object:
    """Return a setting in a form that can be compared: NATS writes `none` and `no limit` in several ways."""
    if isinstance(value, list):
        return tuple(sorted(map(str, value))) or None
    is_none = value in (0, -1, False, "", "none", "default") or value == StreamConsumerLimits()
    return None if is_none else value
