"""The client with a real server and a worker whose engine is scripted."""

from pathlib import Path

import pytest
from natscribe.client import Client
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.transcription import (
    Channels,
    SegmentsEvent,
    TranscribeKeywords,
    TranscribeOptions,
    TranscriptionResult,
    TranscriptionTask,
)
from natscribe.schemas.wire import Priority

from app.main import Worker
from app.settings import Settings
from tests.integration.seen_by_clients import ended, is_in_state
from tests.waiting import eventually

CONTENT = bytes(range(256)) * 8192


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As for all tests, but recordings are in a bucket."""
    return settings.model_copy(update={"audio_store": "nats://audio"})


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "team meeting.flac"
    path.write_bytes(CONTENT)
    return path


async def test_from_file_to_result(settings: Settings, worker: Worker, recording: Path) -> None:
    uploads: list[tuple[Path, int]] = []
    async with Client(settings, on_upload=lambda file, sent: uploads.append((file, sent))) as client:
        # When a file is transcribed
        task_id = await client.create_transcription_task(recording, user_id=7)
        events = [event async for event in client.follow(task_id)]
        result = await client.get_task_result(task_id)
        text = await client.get_task_result(task_id, ResultFormat.TXT)
        lines = await client.get_task_result(task_id, ResultFormat.SRT, limits=SubtitleLimits(max_lines=1))
        status = await client.get_task_progress(task_id)
    # Then the bytes of its upload are counted
    assert uploads[0] < uploads[-1] == (recording, len(CONTENT))
    assert uploads == sorted(uploads)
    # And all events are followed in order, with the text before the end
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert [event.sequence for event in progress] == list(range(1, len(progress) + 1))
    assert events[-1] is progress[-1]
    assert progress[-1].state is State.COMPLETED
    segments = [segment for event in events if isinstance(event, SegmentsEvent) for segment in event.segments]
    # And the result can be read in each format
    assert isinstance(result, TranscriptionResult)
    assert [(item.start, item.text) for item in result.segments] == [(item.start, item.text) for item in segments]
    assert (result.user_id, result.task_id) == (7, task_id)
    assert isinstance(text, str)
    assert text.split() == result.text.split()
    assert isinstance(lines, str)
    assert [block.count("\n") for block in lines.strip().split("\n\n")] == [2] * lines.count("-->")
    assert (status.state, status.result_available) == (State.COMPLETED, True)


async def test_a_failed_task_is_a_dead_letter_until_it_is_replayed(
    settings: Settings, worker: Worker, recording: Path
) -> None:
    async with Client(settings) as client:
        # Given a task that failed
        task_id = await client.create_transcription_task("missing.flac", priority=Priority.NORMAL)
        assert (await ended(client, task_id)).state is State.FAILED
        assert [letter.task_id async for letter in client.dead_letters()] == [task_id]
        # When it is replayed
        assert await client.replay(task_id=task_id) == 1
        # Then following it from the start does not end at the first failure
        await eventually(lambda: is_in_state(client, task_id, State.FAILED))
        states = [event.state async for event in client.follow(task_id) if isinstance(event, ProgressEvent)]
        assert states.count(State.QUEUED) == 2


async def test_all_options_reach_the_service(settings: Settings, worker: Worker, recording: Path) -> None:
    # Given all options, and a user with a name
    options = TranscribeKeywords(
        model="fake",
        language="Русский",
        vocabulary=["Natscribe", "Анна Ким"],
        prompt="A call about invoices.",
        translate=True,
        channels=Channels.SEPARATE,
    )
    async with Client(settings) as client:
        # When a task is created with them
        task_id = await client.create_transcription_task(recording, user_id="anna", **options)
        await ended(client, task_id)
        task = (await client.get_task_progress(task_id)).task
        result = await client.get_task_result(task_id)
    # Then the service receives them, and the result belongs to the user
    assert isinstance(task, TranscriptionTask)
    assert task.options == TranscribeOptions.model_validate(options | {"language": "ru"})
    assert result.user_id == "anna"
