"""Any bytes on any subject: never a crash, never a stuck queue, never silence."""

import json
import os
import random

import hypothesis
import pytest
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext

from app import invalid
from app.main import Service
from schemas.requests import TaskStatus
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "500"))
SEED = int(os.environ.get("FUZZ_SEED", str(random.randrange(2**32))))  # noqa: S311 -- printed, to be repeated
LANES = [f"tasks.{kind}.{priority}" for kind in ("transcription", "diarization") for priority in ("high", "low")]
REQUESTS = ["tasks.status", "tasks.result", "tasks.cancel", "tasks.delete", "dead_letters.replay"]

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
    js: JetStreamContext, publisher: Publisher, worker: Service, nc: Client
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
    assert worker.slot.running
    # And each message has ended: with a letter, or in the log of its id
    identified = {found for _, body, _ in messages if (found := invalid.task_id(body))}
    for task_id in identified:
        status = TaskStatus.model_validate(await publisher.ask("tasks.status", task_id=task_id))
        assert status.state.ended, status
    letters = (await js.stream_info("transcription_dead_letters")).state.messages
    assert letters >= sum(invalid.task_id(body) is None for _, body, _ in messages)
    assert not heard


@pytest.mark.parametrize("subject", REQUESTS)
async def test_whatever_is_asked_is_answered(nc: Client, worker: Service, subject: str) -> None:
    # Given the worst that anybody may ask
    for _, body, extra in invented([subject], max(MESSAGES // 10, 50)):
        # When it is asked
        try:
            reply = await nc.request(subject, body, timeout=5, headers=extra or None)
        except MaxPayloadError:
            continue
        # Then there is an answer, and it is an object
        assert isinstance(json.loads(reply.data), dict), (body, extra)
