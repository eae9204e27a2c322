"""`numbers: "digits"`: what a worker stores of the numbers in a recording, and in live audio."""

import json

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import Segment

from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import WINDOW, FakeEngine
from tests.integration.conftest import Publisher, parsed
from tests.integration.live.test_live import Speaker

SAID, WRITTEN = "forty two", "42"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"cache_ttl": 3600.0})


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.text = SAID
    return engine


async def stored(js: JetStreamContext, task_id: str) -> list[Segment]:
    """The segments of a result, which are also those of the task's log."""
    result = parsed(await js.get_last_msg("transcription_results", f"results.{task_id}"))
    segments = [Segment.model_validate(item) for item in result["segments"]]
    assert result["text"] == " ".join(segment.text for segment in segments)
    return segments


async def test_a_task_gets_its_numbers_as_it_wants_them(
    publisher: Publisher, worker: Worker, engine: FakeEngine
) -> None:
    # Given a recording with numbers, which the worker has transcribed and cached for a task that wants them in digits
    await publisher.reaching(State.COMPLETED, "digits", numbers="digits", word_timestamps=True)
    # When tasks without the option follow, and the first one comes again
    await publisher.reaching(State.COMPLETED, "default", word_timestamps=True)
    await publisher.reaching(State.COMPLETED, "as_is", numbers="as_is", word_timestamps=True)
    await publisher.reaching(State.COMPLETED, "again", numbers="digits", word_timestamps=True)
    # Then each has its numbers as it wants them; a number in digits is one word, from its first start to its last end
    for task_id in ("digits", "again"):
        for number, segment in enumerate(await stored(publisher.js, task_id)):
            start = number * WINDOW
            assert segment.text == WRITTEN
            words = [(word.word.strip(), word.start, word.end) for word in segment.words or ()]
            assert words == [(WRITTEN, start, start + 9)]
    for task_id in ("default", "as_is"):
        for segment in await stored(publisher.js, task_id):
            assert segment.text == SAID
            assert [word.word.strip() for word in segment.words or ()] == SAID.split()
    # And only the second of these readings was transcribed again: the third and the fourth are from the cache
    assert len(engine.options) == 2 * engine.windows


async def test_numbers_of_live_audio_are_digits_too(publisher: Publisher, worker: Worker) -> None:
    # Given a live task that wants digits
    speaker = Speaker(publisher)
    await speaker.begin(numbers="digits")
    # When somebody speaks until the end
    await speaker.say(15)
    await speaker.ends(1)
    # Then its stored text has digits, and no number in words
    result = json.dumps(parsed(await publisher.js.get_last_msg("transcription_results", f"results.{speaker.task_id}")))
    assert WRITTEN in result
    assert SAID not in result
