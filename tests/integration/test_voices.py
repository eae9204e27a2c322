"""Voices by name: a person who was named once is named in later recordings, until the name is forgotten."""

from typing import Any

import pytest
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind

from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher

CONSENT = {"by": "Anna Berg", "at": "2026-11-24T09:30:00Z"}


@pytest.fixture(autouse=True)
def _in_a_bucket(settings: Settings) -> None:
    settings.audio_store = "nats://audio"


async def done(publisher: Publisher, task_id: str, **options: Any) -> None:
    """A task that has completed, with a recording of its own."""
    await (await publisher.js.object_store("audio")).put(f"{task_id}.flac", task_id.encode())
    await publisher.publish(task_id, audio_file_id=f"{task_id}.flac", **options)
    await publisher.until(task_id, State.COMPLETED)


async def enroll(publisher: Publisher, task_id: str, **request: Any) -> dict[str, Any]:
    asked = {"user_id": 7, "task_id": task_id, "name": "Anna", "consent": CONSENT} | request
    return await publisher.ask(subjects.ENROLL, **asked)


async def named(publisher: Publisher, task_id: str) -> dict[str, str]:
    """Who the speakers of a task are."""
    result = await publisher.ask(subjects.RESULT, task_id=task_id)
    return {label: each["name"] for label, each in result["voices"].items()}


async def test_a_person_who_was_named_once_is_named_in_the_next_recording(
    publisher: Publisher, worker: Worker, engine: FakeEngine
) -> None:
    # Given a call in which somebody was named
    await done(publisher, "call", diarize=True)
    voice = await enroll(publisher, "call", speaker="SPEAKER_00")
    assert voice["references"][0]["seconds"] == 15
    # When this person speaks in another recording, beside a stranger
    engine.people = ["cecile", "anna"]
    await done(publisher, "next", diarize=True, identify=True)
    await done(publisher, "turns", kind=Kind.DIARIZATION, identify=True)
    # Then this person is named, and the stranger is not
    assert await named(publisher, "next") == {"SPEAKER_00": "unknown", "SPEAKER_01": "Anna"}
    assert await named(publisher, "turns") == {"SPEAKER_00": "unknown", "SPEAKER_01": "Anna"}
