"""Any bytes on any subject: never a crash, never a stuck queue, never silence."""

import json
import os
import random
from datetime import UTC, datetime
from functools import partial

import hypothesis
import pytest
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext
from redis.asyncio import Redis

from app.main import Worker
from app.queue.stored_message import StoredMessage
from schemas.progress import State
from schemas.requests import TaskStatus
from schemas.wire import Kind
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "500"))
SEED = int(os.environ.get("FUZZ_SEED", str(random.randrange(2**32))))  # noqa: S311 -- printed, to be repeated
LANES = [f"tasks.{kind}.{priority}" for kind in ("transcription", "diarization") for priority in ("high", "low")]
REQUESTS = [
    "tasks.status",
    "tasks.result",
    "tasks.cancel",
    "tasks.delete",
    "dead_letters.replay",
    "dead_letters.delete",
]

ids = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.text(), st.integers(), st.none())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
nearly = st.fixed_dictionaries(
    {
        "task_id": ids,
        "audio_file_id": st.sampled_from(["meeting.flac", "../x", "/etc/passwd", "a\x00b", ""]) | st.text(),
    },
    optional={
        "user_id": st.integers() | st.booleans() | st.text(),
        "model": st.sampled_from(["../../etc", "large-v3", "", "a/b"]) | values,
        "language": st.sampled_from(["en", "xx", "EN"]) | values,
        "diarize": values,
        "min_speakers": st.integers(),
        "max_speakers": st.integers(),
        "format": st.sampled_from(["srt", "json", "exe"]),
        "kind": st.sampled_from(["diarization", "x"]),
        "code": st.sampled_from(["timeout", "x"]),
        "surprise": values,
    },
)
written = (nearly | values).map(lambda value: json.dumps(value).encode())  # lone surrogates, NaN and all
bodies = st.one_of(
    written,
    st.binary(max_size=200),
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(written, st.integers(0, 50)).map(lambda cut: cut[0][: -cut[1] or None]),
    st.sampled_from([b"[" * 100_000, b'{"a":' * 10_000, b"9" * 10_000, b'{"task_id":"d","task_id":"e"}', b"\x00" * 9]),
)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
headers = st.dictionaries(
    st.sampled_from(
        ["content-type", "reply_to", "correlation_id", "traceparent", "Natscribe-Replay-Of", "Natscribe-Task", "X"]
    ),
    texts | st.sampled_from(["application/json", "text/plain", "tasks.transcription.high", "1", "-1", "stolen.reply"]),
    max_size=3,
)
Hostile = tuple[str, bytes, dict[str, str]]


def invented(subjects: list[str], count: int) -> list[Hostile]:
    """Messages as hypothesis invents them, the same for the same seed."""
    found: list[Hostile] = []

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.sampled_from(subjects), bodies, headers)
    def collect(subject: str, body: bytes, extra: dict[str, str]) -> None:
        found.append((subject, body, extra))

    collect()
    print(f"FUZZ_SEED={SEED} FUZZ_MESSAGES={count}")
    return found


async def test_whatever_is_published_ends(
    js: JetStreamContext, publisher: Publisher, worker: Worker, nc: Client
) -> None:
    # Given the worst that anybody may publish
    messages = invented(LANES, MESSAGES)
    heard: list[str] = []

    async def listen(message: object) -> None:
        heard.append(str(message))

    await nc.subscribe("stolen.>", cb=listen)
    # When it is published
    for subject, body, extra in messages:
        await js.publish(subject, body, headers=extra or None)
    # Then the queue runs empty, and the worker lives
    await eventually(lambda: queue_is_empty(js), within=60 + MESSAGES / 20)
    assert worker.container.consumer.running
    # And each message has ended: with a letter, or in the log of its id
    ids = [StoredMessage(subject, 0, datetime.now(UTC), {}, body).task_id for subject, body, _ in messages]
    identified = {task_id for task_id in ids if task_id}
    for task_id in identified:
        status = TaskStatus.model_validate(await publisher.ask("tasks.status", task_id=task_id))
        assert status.state.ended, status
    letters = (await js.stream_info("transcription_dead_letters")).state.messages
    assert letters >= ids.count(None)
    assert not heard


@pytest.mark.parametrize("subject", REQUESTS)
async def test_whatever_is_asked_is_answered(nc: Client, worker: Worker, subject: str) -> None:
    # Given the worst that anybody may ask
    for _, body, extra in invented([subject], max(MESSAGES // 10, 50)):
        # When it is asked
        try:
            reply = await nc.request(subject, body, timeout=5, headers=extra or None)
        except MaxPayloadError:
            continue
        # Then there is an answer, and it is an object
        assert isinstance(json.loads(reply.data), dict), (body, extra)


@pytest.fixture(params=["one", "many", "known"])
def sixty_kilobytes(request: pytest.FixtureRequest) -> dict[str, str]:
    """Headers, as long and as many as a server lets through."""
    found: dict[str, dict[str, str]] = {
        "one": {"X": "x" * 60_000},
        "many": {f"X-{number}": "x" * 90 for number in range(600)},
        "known": dict.fromkeys(
            ["traceparent", "correlation_id", "Natscribe-Replay-Of", "Natscribe-Task"], "1" * 15_000
        ),
    }
    return found[request.param]


def filled(body: bytes, nc: Client, extra: dict[str, str]) -> bytes:
    """The body, with spaces up to the largest message: the server counts headers, too."""
    room = nc.max_payload - sum(len(name) + len(value) + 4 for name, value in extra.items()) - 12
    return body.ljust(room)


@pytest.mark.parametrize("full", [False, True])
async def test_the_largest_tasks_end(
    js: JetStreamContext,
    publisher: Publisher,
    worker: Worker,
    nc: Client,
    sixty_kilobytes: dict[str, str],
    full: bool,
) -> None:
    # Given messages with very long headers, as long as they may be altogether: a task, none, and one that is wrong
    bodies = {
        "good": b'{"task_id": "good", "audio_file_id": "meeting.flac", "user_id": 1}',
        "none": b"\x00\xff",
        "wrong": b'{"task_id": "wrong", "audio_file_id": "meeting.flac", "user_id": []}',
    }
    # When they are published
    for body in bodies.values():
        await js.publish(LANES[0], filled(body, nc, sixty_kilobytes) if full else body, headers=dict(sixty_kilobytes))
    # Then each ends as it would without them, and the queue runs empty
    await publisher.until("good", State.COMPLETED)
    await publisher.until("wrong", State.FAILED)
    await eventually(lambda: queue_is_empty(js))
    assert (await js.stream_info("transcription_dead_letters")).state.messages == 2
    assert worker.container.consumer.running


@pytest.mark.parametrize("subject", REQUESTS)
async def test_the_largest_requests_are_answered(
    nc: Client, worker: Worker, sixty_kilobytes: dict[str, str], subject: str
) -> None:
    for body in (b'{"task_id": "nobody"}', b"{", b"\xff"):
        for sent in (body, filled(body, nc, sixty_kilobytes)):
            reply = await nc.request(subject, sent, timeout=5, headers=dict(sixty_kilobytes))
            answer = json.loads(reply.data)
            assert answer.get("deleted") == 0 or answer["error"]["code"] in {"not_found", "invalid_request"}


def is_deep(body: bytes) -> bool:
    """Whether a body is nested more deeply than Python reads JSON."""
    return body.count(b"[") + body.count(b"{") > 500


LOGS = ["progress.t1", "segments.t1", "results.t1"]
OWN = [*LOGS, *(f"append.{log}" for log in LOGS), *(f"accepted.{lane}" for lane in LANES)]


@pytest.mark.foreign
@pytest.mark.parametrize("subject", OWN)
async def test_garbage_on_the_services_own_subjects_harms_no_other_task(
    js: JetStreamContext,
    publisher: Publisher,
    worker: Worker,
    nc: Client,
    redis: Redis,
    engine: FakeEngine,
    subject: str,
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await publisher.until("t1", State.RUNNING)
    # When the worst that anybody may publish comes where only the service publishes, and as much of it as there is room
    for _, body, extra in invented([subject], max(MESSAGES // 10, 50)):
        if not is_deep(body):
            await nc.publish(subject, body, headers=extra or None)
    await nc.publish(subject, filled(b"{", nc, {}))
    await nc.flush()
    engine.may_go_on.set()
    # Then other tasks are done, and shown
    for task_id in ("t2", "t3"):
        await publisher.publish(task_id, kind=Kind.DIARIZATION)
        await publisher.until(task_id, State.COMPLETED)
        await eventually(partial(redis.exists, f"task:{task_id}:result"))
    # And whoever asks for the one that was hit is answered
    for question in ("tasks.status", "tasks.result", "tasks.delete"):
        assert isinstance(await publisher.ask(question, task_id="t1"), dict)
    assert worker.container.consumer.running
    assert await publisher.ask("tasks.status", task_id="t2")
