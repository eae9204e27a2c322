"""Which settings of a stream the service needs, and which an operator may choose."""

import pytest
from nats.js.api import DiscardPolicy, Placement, RetentionPolicy, StreamConsumerLimits, SubjectTransform
from natscribe.jetstream.streams import STORED_TASK_TTL_S, TASK_TTL_S, task_subjects

from app.fleet.stream_guard.resources import Difference, all_resources
from app.settings import LEAST_LIVE_TTL_S
from app.storage.jetstream.slots import SlotPool
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, SETTINGS

WITH_BUCKET = SETTINGS.model_copy(update={"audio_store": "nats://audio"})
RESOURCES = {resource.name: resource for resource in all_resources(InMemoryNats().jetstream(), WITH_BUCKET)}
QUEUE, LOG, LETTERS, REMINDERS = NAMES.tasks, NAMES.progress, NAMES.dead_letters, NAMES.retention
READY, LIVE, VOICES, EMBEDDINGS, RESULTS = NAMES.ready, NAMES.live, "KV_voices", "KV_embeddings", "OBJ_results"
RECORDINGS = "OBJ_audio"
CONSUMER = NAMES.slot_consumer(SlotPool.RECORDINGS)


def differences(name: str, **changes: object) -> list[Difference]:
    """How a stream or consumer differs after these changes."""
    resource = RESOURCES[name]
    return list(resource.differences(resource.config.evolve(**changes)))


def needed(name: str, **changes: object) -> list[tuple[str, bool]]:
    """Which settings differ after these changes, and whether the service needs them."""
    return [(difference.setting, difference.is_needed) for difference in differences(name, **changes)]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_msgs", -1),
        ("max_bytes", 0),
        ("subjects", list(reversed(task_subjects()))),
        ("sealed", False),
        ("mirror", None),
        ("max_msg_size", -1),
        ("max_consumers", -1),
        ("consumer_limits", StreamConsumerLimits()),
        ("description", "of the company"),
        ("placement", Placement(tags=["fast"])),
        ("metadata", {"_nats.ver": "3.0"}),
    ],
)
def test_equal_meanings_are_no_difference(setting: str, value: object) -> None:
    assert needed(QUEUE, **{setting: value}) == []


@pytest.mark.parametrize(
    ("stream", "changes"),
    [
        (QUEUE, {"subjects": ["tasks.>"]}),
        (QUEUE, {"retention": RetentionPolicy.LIMITS}),
        (QUEUE, {"allow_direct": False}),
        (LOG, {"subject_transform": None}),
        (LOG, {"subject_transform": SubjectTransform(src="a", dest="b")}),
        (LOG, {"deny_delete": False}),
        (QUEUE, {"max_msgs": 5}),
        (QUEUE, {"discard": DiscardPolicy.OLD}),  # a full queue would lose its oldest task
        (LOG, {"max_msgs_per_subject": 1}),  # a log retains all its records
        (QUEUE, {"max_msgs_per_subject": -1}),  # a queue has a length
        (QUEUE, {"max_msgs_per_subject": 0}),
        (LOG, {"max_bytes": 1}),  # later records would push out those of tasks that wait
        (QUEUE, {"max_age": STORED_TASK_TTL_S - 1}),  # the message of a scheduled task stays until it expires
        (LOG, {"max_age": TASK_TTL_S - 1}),
        (LOG, {"max_age": 0}),  # a log does not stay indefinitely
        (LETTERS, {"discard": DiscardPolicy.NEW}),  # a task that fails has a dead letter
        (LETTERS, {"discard": DiscardPolicy.NEW, "max_bytes": 1}),
        (READY, {"discard": DiscardPolicy.NEW, "max_bytes": 1}),  # no task would start
        (REMINDERS, {"max_age": 60}),  # a task with `keep_seconds` is erased
        (VOICES, {"max_age": TASK_TTL_S}),
        (VOICES, {"max_msgs_per_subject": 2}),  # a forgotten voice is gone
        (RECORDINGS, {"max_age": TASK_TTL_S - 1}),
        (RECORDINGS, {"max_bytes": 1, "discard": DiscardPolicy.OLD}),
        (RECORDINGS, {"max_msgs_per_subject": 1}),  # a recording has many messages on a subject
        (RESULTS, {"max_age": 0}),
        (EMBEDDINGS, {"max_age": TASK_TTL_S - 1}),
        (LIVE, {"max_age": LEAST_LIVE_TTL_S - 1}),
        (LIVE, {"max_age": 0}),
        (LOG, {"max_consumers": 1}),
        (LOG, {"consumer_limits": StreamConsumerLimits(max_ack_pending=1)}),
    ],
)
def test_a_change_that_breaks_a_promise_is_restored(stream: str, changes: dict[str, object]) -> None:
    assert sorted(needed(stream, **changes)) == sorted((setting, True) for setting in changes)


@pytest.mark.parametrize(
    ("stream", "changes"),
    [
        (QUEUE, {"num_replicas": 3}),
        (QUEUE, {"max_msgs_per_subject": 1}),
        (QUEUE, {"max_bytes": 1}),  # a full queue refuses tasks, and drops none
        (QUEUE, {"max_age": STORED_TASK_TTL_S}),
        (QUEUE, {"max_age": 0}),
        (LOG, {"max_age": TASK_TTL_S}),
        (RECORDINGS, {"max_age": TASK_TTL_S}),
        (RECORDINGS, {"max_age": 0}),
        (RECORDINGS, {"max_bytes": 1}),  # a full bucket refuses recordings
        (EMBEDDINGS, {"max_age": 2 * TASK_TTL_S}),
        (LIVE, {"max_age": LEAST_LIVE_TTL_S}),
    ],
)
def test_operators_may_choose_the_other_settings(stream: str, changes: dict[str, object]) -> None:
    assert needed(stream, **changes) == [(setting, False) for setting in changes]


@pytest.mark.parametrize(
    ("changes", "is_needed"),
    [
        ({"max_deliver": 3}, True),
        ({"headers_only": True}, True),
        ({"num_replicas": 1}, True),
        ({"ack_wait": 60.0}, False),
        ({"ack_wait": 1.0}, True),
        ({"max_waiting": 512}, False),
        ({"max_waiting": 511}, True),
    ],
)
def test_a_changed_consumer_is_restored_except_for_what_operators_may_choose(
    changes: dict[str, object], is_needed: bool
) -> None:
    (difference,) = differences(CONSUMER, **changes)
    assert (difference.resource, difference.is_needed) == (CONSUMER, is_needed)
    assert difference.actual in changes.values()
