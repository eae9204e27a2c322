"""Which settings of a stream the service needs, and which an operator may choose."""

from dataclasses import replace

import pytest
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig, SubjectTransform
from natscribe.jetstream.streams import EXPIRES_AFTER_S

from app.jetstream.streams import consumer_configs, stream_configs
from app.stream_guard.differences import of_consumer, of_stream
from tests.fakes.parts import NAMES, SETTINGS

STREAMS = {str(config.name): config for config in stream_configs(SETTINGS)}
QUEUE, LOG, LETTERS, REMINDERS = (
    STREAMS[name] for name in (NAMES.tasks, NAMES.progress, NAMES.dead_letters, NAMES.retention)
)
CONSUMER = next(config for _, config in consumer_configs(SETTINGS))


def needed(wanted: StreamConfig, **found: object) -> list[tuple[str, bool]]:
    """Which settings differ, and whether the service needs them."""
    return [(each.setting, each.needed) for each in of_stream(wanted, wanted.evolve(**found))]


@pytest.mark.parametrize("wanted", STREAMS.values(), ids=list(STREAMS))
def test_what_is_as_it_should_be_has_no_difference(wanted: StreamConfig) -> None:
    assert of_stream(wanted, replace(wanted)) == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("max_msgs", -1),
        ("max_bytes", 0),
        ("subjects", list(reversed(QUEUE.subjects or []))),
        ("sealed", False),
        ("mirror", None),
        ("max_msg_size", -1),
    ],
)
def test_no_limit_is_said_in_several_ways(setting: str, said: object) -> None:
    assert needed(QUEUE, **{setting: said}) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (QUEUE, {"subjects": ["tasks.>"]}),
        (QUEUE, {"retention": RetentionPolicy.LIMITS}),
        (QUEUE, {"allow_direct": False}),
        (LOG, {"subject_transform": None}),
        (LOG, {"subject_transform": SubjectTransform(src="a", dest="b")}),
        (LOG, {"deny_delete": False}),
        (QUEUE, {"max_msgs": 5}),
        (QUEUE, {"discard": DiscardPolicy.OLD}),  # a full queue would lose its oldest task
        (LOG, {"max_msgs_per_subject": 1}),  # a log keeps all its records
        (QUEUE, {"max_msgs_per_subject": -1}),  # a queue has a length
        (QUEUE, {"max_msgs_per_subject": 0}),
        (LOG, {"max_bytes": 1}),  # later records would push out those of tasks that wait
        (QUEUE, {"max_age": EXPIRES_AFTER_S - 1}),
        (LOG, {"max_age": EXPIRES_AFTER_S - 1}),
        (LOG, {"max_age": 0}),  # a log is not kept for ever
    ],
)
def test_what_would_break_a_promise_is_put_back(wanted: StreamConfig, found: dict[str, object]) -> None:
    assert needed(wanted, **found) == [(setting, True) for setting in found]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (QUEUE, {"num_replicas": 3}),
        (LETTERS, {"discard": DiscardPolicy.NEW}),
        (QUEUE, {"max_msgs_per_subject": 1}),
        (QUEUE, {"max_bytes": 1}),  # a full queue refuses tasks, and drops none
        (QUEUE, {"max_age": EXPIRES_AFTER_S}),
        (QUEUE, {"max_age": 0}),
        (LOG, {"max_age": EXPIRES_AFTER_S}),
        (REMINDERS, {"max_age": 60}),
    ],
)
def test_the_rest_is_for_operators_to_choose(wanted: StreamConfig, found: dict[str, object]) -> None:
    assert needed(wanted, **found) == [(setting, False) for setting in found]


@pytest.mark.parametrize(
    ("found", "is_needed"), [({"max_deliver": 3}, True), ({"headers_only": True}, True), ({"ack_wait": 60.0}, False)]
)
def test_a_consumer_is_compared_too(found: dict[str, object], is_needed: bool) -> None:
    (difference,) = of_consumer(CONSUMER, CONSUMER.evolve(**found))
    assert (difference.of, difference.needed) == (CONSUMER.durable_name, is_needed)
    assert difference.found in found.values()
    assert of_consumer(CONSUMER, ConsumerConfig(**vars(CONSUMER))) == []
