"""The streams and durable consumers of the service, and how each differs from the configuration that it should have.

A bucket is a stream, too. The service needs the settings in STREAM_NEEDS and CONSUMER_NEEDS. Operators may choose all
others: replicas, limits of size and age, the length of a task queue, compression.
"""

import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, DiscardPolicy, StreamConfig, StreamInfo
from natscribe.jetstream.streams import STORED_TASK_TTL_S, TASK_TTL_S

from app.jetstream import streams
from app.settings import Settings

STREAM_NEEDS: Final[tuple[str, ...]] = (
    "subjects",
    "retention",
    "storage",
    "discard_new_per_subject",
    "max_msgs",
    "duplicate_window",
    "subject_transform",
    "republish",
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_schedules",
    "allow_msg_ttl",
    "deny_delete",
    "deny_purge",
    "no_ack",
    "sealed",
    "max_msg_size",
    "mirror",
    "sources",
)
CONSUMER_NEEDS: Final[tuple[str, ...]] = (
    "filter_subject",
    "filter_subjects",
    "deliver_policy",
    "deliver_subject",
    "ack_policy",
    "max_deliver",
    "max_ack_pending",
    "headers_only",
    "backoff",
    "rate_limit_bps",
    "inactive_threshold",
)
STREAM_LIMITS: Final[tuple[str, ...]] = (
    "num_replicas",
    "max_age",
    "discard",
    "max_msgs_per_subject",
    "max_bytes",
)  # some streams need them
CONSUMER_CHOICES: Final[tuple[str, ...]] = ("ack_wait",)

Config = StreamConfig | ConsumerConfig


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
    read: Callable[[], Awaitable[StreamInfo | ConsumerInfo]]
    create: Callable[..., Awaitable[object]]
    update: Callable[..., Awaitable[object]]

    def differences(self, actual: Config) -> Iterator[Difference]:
        """Yield the settings in which `actual`, the configuration in NATS, differs from `config`."""
        needs = STREAM_NEEDS if isinstance(self.config, StreamConfig) else CONSUMER_NEEDS
        choices = STREAM_LIMITS if isinstance(self.config, StreamConfig) else CONSUMER_CHOICES
        for setting in (*needs, *choices):
            expected, value = getattr(self.config, setting), getattr(actual, setting)
            if _normalized(expected) != _normalized(value):
                is_needed = setting in needs or _limit_is_needed(self.config, actual, setting)
                yield Difference(self.name, setting, expected, value, is_needed)


def all_resources(js: JetStreamContext, settings: Settings) -> Iterator[Resource]:
    """Yield all streams of the service, then the streams behind its buckets, and then its durable consumers."""
    for config in streams.all_stream_configs(settings):
        name = str(config.name)
        yield Resource("stream", name, name, config, partial(js.stream_info, name), js.add_stream, js.update_stream)
    for stream, consumer in streams.consumer_configs(settings):
        # NATS returns configurations with a name; nats-py would then send a request that the service may not send.
        name, add = str(consumer.durable_name), partial(js.add_consumer, stream, name=None)
        yield Resource("consumer", name, stream, consumer, partial(js.consumer_info, stream, name), add, add)


def _limit_is_needed(expected: Config, actual: Config, setting: str) -> bool:
    """Return whether the service has to restore the limit `setting` of a stream, because its value breaks a guarantee.

    The guarantees: The number of messages in a task queue is limited, and a task stays in its queue until it expires,
    however many tasks follow. A log of tasks (a stream with a subject transform) keeps its messages at least as long as
    a task may wait, but not for ever.
    """
    if not isinstance(expected, StreamConfig) or not isinstance(actual, StreamConfig):
        return False
    is_log, is_queue = expected.subject_transform is not None, bool(expected.discard_new_per_subject)
    shortest_age = actual.max_age or (0 if is_log else math.inf)  # 0: no limit, which a log must have
    needed = {
        "discard": expected.discard is DiscardPolicy.NEW,
        "max_msgs_per_subject": is_log or (actual.max_msgs_per_subject or 0) <= 0,
        "max_bytes": actual.discard == DiscardPolicy.OLD,
        "max_age": shortest_age < (STORED_TASK_TTL_S if is_queue else TASK_TTL_S if is_log else 0),
    }
    return needed.get(setting, False)


def _normalized(value: object) -> object:
    """Return a setting in a form that can be compared: NATS writes `none` and `no limit` in several ways."""
    if isinstance(value, list):
        return tuple(sorted(map(str, value))) or None
    return None if value in (0, -1, False, "") else value
