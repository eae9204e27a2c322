"""The document is true: a running service takes its examples, and says everything that it describes."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import product
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.channels import Channel
from natscribe.schemas.progress import State
from natscribe.schemas.services import Verb
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.engines.messages import LiveDiarization
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream.channels import CHANNELS, DUE, QUOTAS
from tests import document
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.integration.live.test_live import Speaker
from tests.integration.wire import Wire
from tests.waiting import eventually

TASKS = [
    pytest.param(document.channel_of(operation)["address"], example, id=f"{name}-{example['name']}")
    for name, operation in document.operations("receive").items()
    if name.startswith("submit")
    for example in document.examples(operation)
]
SAID = {  # to clients; `test_sharing` has what workers say to each other
    name
    for operation in document.DOCUMENT["operations"].values()
    if operation["tags"] != [{"name": "inside"}]
    for name in document.names(
        operation["messages"] if operation["action"] == "send" else operation.get("reply", {}).get("messages", [])
    )
}


@pytest.mark.parametrize(("address", "example"), TASKS)
async def test_the_example_of_a_task_is_done(
    worker: Worker, publisher: Publisher, address: str, example: dict[str, Any]
) -> None:
    # Given the example, published as the document says
    subject = address.format(priority=Priority.NORMAL)
    await publisher.js.publish(subject, json.dumps(example["payload"]).encode(), headers=example["headers"])
    # And the audio of a live task ends, with headers as the document describes them
    if subject == subjects.tasks(TaskType.LIVE, Priority.NORMAL):
        headers = {"Nats-Msg-Id": f"{example['payload']['task_id']}-0", "Natscribe-End": "true"}
        document.validator("Frame", "headers", closed=True).validate(headers)
        await publisher.js.publish(subjects.live_audio(example["payload"]["task_id"]), b"", headers=headers)
    # Then it comes to its end
    await publisher.until(example["payload"]["task_id"], State.COMPLETED)


NOT_SEEN = {
    DUE,  # JetStream stores it, days later
    QUOTAS,  # an operator changes them
}
OF_NATS = ("$JS.", "$KV.", "$O.", "$SYS.", "_INBOX.", "_R_.")  # JetStream, its buckets, the server, and replies


def channel_at(subject: str) -> Channel | None:
    """The channel of a subject; a literal one goes first."""
    patterns = {channel: re.sub(r"\\{\w+\\}", "[^.]+", re.escape(channel.subject)) for channel in CHANNELS}
    matching = [channel for channel, pattern in patterns.items() if re.fullmatch(pattern, subject)]
    return min(matching, key=lambda channel: "{" in channel.subject, default=None)


@pytest.fixture
async def subjects_seen(settings: Settings, wire: Wire) -> AsyncIterator[set[str]]:
    """The subjects of all messages that pass, but those of NATS itself."""
    del wire  # a test with all subjects has the other checks, too
    seen = set[str]()

    async def note(message: Msg) -> None:
        if not message.subject.startswith(OF_NATS):
            seen.add(message.subject)

    async with await nats.connect(settings.nats_url) as listener:
        await listener.subscribe(">", cb=note)
        await listener.flush()
        yield seen


async def say_all(publisher: Publisher, wire: Wire) -> None:
    """Speak until that was shown, and send each request that there is, about tasks that have ended."""
    speaker = Speaker(publisher)
    await speaker.begin(diarize=True, turns=True)
    await speaker.say(3)
    await eventually(lambda: "Partial" in wire.seen())
    await speaker.say(1, end=True)
    await publisher.until("live-1", State.COMPLETED)
    for subject in (subjects.STATUS, subjects.CANCEL, subjects.RESULT):
        for task_id in ("text", "turns", "wrong", "unknown"):
            await publisher.request(subject, task_id=task_id)
    for subject in (subjects.LIST, subjects.TASK_QUEUES, subjects.WORKERS):
        await publisher.request(subject)
    for request in (b'{"task_id": "text", "format": "srt"}', b'{"task_id": "text", "format": "html"}', b"no JSON"):
        await publisher.nc.request(subjects.RESULT, request, timeout=10)
    await publisher.request(subjects.REDACT, text="Call 555-123-4567.", redact={"entities": ["phone"]})
    await publisher.request(subjects.REPLAY, kind="transcription")
    await publisher.request(subjects.DELETE_LETTERS, kind="transcription")
    consent = {"by": "Anna", "at": "2026-11-24T09:30:00Z"}
    fields = {"user_id": 7, "task_id": "turns", "speaker": "SPEAKER_00", "consent": consent}
    voice = (await publisher.request(subjects.ENROLL, name="Anna", **fields))["voice"]
    await publisher.request(subjects.VOICES, user_id=7)
    await publisher.request(subjects.RENAME, user_id=7, voice=voice, name="Anna Berg")
    await publisher.request(subjects.FORGET, user_id=7, voice=voice)
    await publisher.request(subjects.DELETE, task_id="text")


async def discover(publisher: Publisher) -> None:
    """Send each request of NATS's discovery of services."""
    instance = json.loads((await publisher.nc.request("$SRV.PING")).data)["id"]
    for verb, whom in product(Verb, ("", ".natscribe", f".natscribe.{instance}")):
        await publisher.nc.request(f"$SRV.{verb}{whom}", timeout=10)


async def test_each_message_of_the_document_is_published(
    worker: Worker, publisher: Publisher, wire: Wire, engine: FakeEngine, subjects_seen: set[str]
) -> None:
    # Given a task of each kind, one that fails, and one that is none
    await publisher.publish("text", diarize=True, word_timestamps=True)
    await publisher.publish("turns", kind=Kind.DIARIZATION, identify=True)
    await publisher.publish("lost", audio_file_id="nowhere.flac")
    await publisher.publish("wrong", unknown=True)
    await publisher.js.publish("tasks.diarization.low", b"\xff")
    for task_id in ("text", "turns"):
        await publisher.until(task_id, State.COMPLETED)
    for task_id in ("lost", "wrong"):
        await publisher.until(task_id, State.FAILED)
    # When every message and request is sent
    engine.live_speakers = [LiveDiarization(turns=[], merged={}, settled_until=0.0, state="")]
    await say_all(publisher, wire)
    await discover(publisher)
    # And a result is too large for a message, of a task whose windows wait until one is offered to idle workers
    engine.text = "word " * 100_000

    async def until_offered(number: int) -> None:
        await eventually(lambda: any(subject.startswith("windows.transcribe.") for subject in subjects_seen))

    engine.transcribes = until_offered  # type: ignore[method-assign]
    await publisher.publish("long", word_timestamps=True)
    await publisher.until("long", State.COMPLETED)
    # Then each message of the document was seen; the fixture finds those that are not in it
    with suppress(AssertionError):  # the assertions say what is missing
        await eventually(lambda: wire.seen() >= SAID)  # the wire's connection may be a moment behind
    assert wire.seen() == SAID
    await eventually(lambda: any(b'"object":{"bucket":"results"' in m.data for m, _ in wire.candidates()))

    # And each channel of the registry was used, the lease within a second, and each subject is in the registry
    def found() -> dict[str, Channel | None]:
        return {subject: channel_at(subject.removeprefix("append.")) for subject in subjects_seen}

    with suppress(AssertionError):
        await eventually(lambda: set(CHANNELS) - set(found().values()) <= NOT_SEEN)
    assert set(CHANNELS) - set(found().values()) == NOT_SEEN
    assert [subject for subject, channel in found().items() if channel is None] == []
