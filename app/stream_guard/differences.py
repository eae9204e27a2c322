"""How a stream or consumer differs from its wanted configuration, and which differences break the service.

Operators may choose the rest: copies, limits of size and age, the length of a task queue, compression.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from nats.js.api import ConsumerConfig, DiscardPolicy, StreamConfig
from natscribe.jetstream.streams import EXPIRES_AFTER_S

STREAM_NEEDS: Final = (
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
CONSUMER_NEEDS: Final = (
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
_STREAM_CHOICES: Final = ("num_replicas", "max_age", "discard", "max_msgs_per_subject", "max_bytes")
_CONSUMER_CHOICES: Final = ("ack_wait",)


class Difference(NamedTuple):
    """A setting of a stream or consumer that differs from what the service wants."""

    of: str  # name of the stream or consumer
    setting: str
    wanted: object
    found: object
    needed: bool  # whether the service needs the wanted value; else the operator may have chosen another one


def of_stream(wanted: StreamConfig, found: StreamConfig) -> list[Difference]:
    """List how a stream differs from its wanted configuration."""
    return [
        Difference(
            str(wanted.name), setting, value, other, setting in STREAM_NEEDS or _limit_is_needed(wanted, found, setting)
        )
        for setting, value, other in _compared(wanted, found, (*STREAM_NEEDS, *_STREAM_CHOICES))
    ]


def of_consumer(wanted: ConsumerConfig, found: ConsumerConfig) -> list[Difference]:
    """List how a durable consumer differs from its wanted configuration."""
    return [
        Difference(str(wanted.durable_name), setting, value, other, setting in CONSUMER_NEEDS)
        for setting, value, other in _compared(wanted, found, (*CONSUMER_NEEDS, *_CONSUMER_CHOICES))
    ]


def _limit_is_needed(wanted: StreamConfig, found: StreamConfig, setting: str) -> bool:
    """Return whether a stream breaks a promise of the contract by the limit that `setting` names.

    Each task queue has a limit, and a task stays in it until the task expires, however many follow. The messages of a
    log (a stream with a subject transform) stay at least as long as a task may wait, however many follow, but not for
    ever.
    """
    if setting == "discard":
        return wanted.discard is DiscardPolicy.NEW
    if setting == "max_msgs_per_subject":
        return wanted.subject_transform is not None or (found.max_msgs_per_subject or 0) <= 0
    if setting == "max_bytes":
        return found.discard == DiscardPolicy.OLD
    is_log, is_queue = wanted.subject_transform is not None, bool(wanted.discard_new_per_subject)
    shortest = found.max_age or (0 if is_log else math.inf)  # without a limit, a log is kept for ever
    return setting == "max_age" and (is_log or is_queue) and shortest < EXPIRES_AFTER_S


def _compared(
    wanted: StreamConfig | ConsumerConfig, found: StreamConfig | ConsumerConfig, settings: tuple[str, ...]
) -> Iterator[tuple[str, object, object]]:
    for setting in settings:
        value, other = getattr(wanted, setting), getattr(found, setting)
        if _meant(value) != _meant(other):
            yield setting, value, other


def _meant(value: object) -> object:
    """Return a value in a form in which equal meanings are equal: NATS says `none` and `no limit` in several ways."""
    if isinstance(value, list):
        return tuple(sorted(map(str, value))) or None
    return None if value in (0, -1, False, "") else value
