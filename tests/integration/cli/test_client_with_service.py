"""The client with a real server and a worker whose engine is scripted."""

from natscribe.client import Client
from natscribe.schemas.transcription import (
    Channels,
    Numbers,
    TranscribeKeywords,
    TranscribeOptions,
    TranscriptionTask,
)

from app.main import Worker
from app.settings import Settings
from tests.integration.seen_by_clients import ended


async def test_all_options_reach_the_service(settings: Settings, worker: Worker) -> None:
    # Given all options, and a user with a name
    options = TranscribeKeywords(
        model="fake",
        language="Русский",
        vocabulary=["Natscribe", "Анна Ким"],
        prompt="A call about invoices.",
        translate=True,
        channels=Channels.SEPARATE,
        numbers=Numbers.DIGITS,
    )
    async with Client(settings) as client:
        # When a task is created with them
        task_id = await client.create_transcription_task("meeting.flac", user_id="anna", **options)
        await ended(client, task_id)
        task = (await client.get_task_progress(task_id)).task
        result = await client.get_task_result(task_id)
    # Then the service receives them, and the result belongs to the user
    assert isinstance(task, TranscriptionTask)
    assert task.options == TranscribeOptions.model_validate(options | {"language": "ru"})
    assert result.user_id == "anna"
