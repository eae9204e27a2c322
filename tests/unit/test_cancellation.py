"""What is ended ends, and what has to be said before is said."""

import asyncio
from contextlib import suppress

import pytest

from app.cancellation import cancel_all, despite_cancellation


async def test_a_cancellation_that_was_swallowed_is_repeated() -> None:
    # Given a task that takes its first cancellation for something else
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    # When it is ended
    await asyncio.wait_for(cancel_all([task]), 5)
    # Then it has ended
    assert swallowed.is_set()
    assert task.cancelled()


async def test_a_last_word_is_said_however_often_its_speaker_is_cancelled() -> None:
    # Given somebody who has a last word to say, which takes a while
    may_be_said, said = asyncio.Event(), []

    async def last_word() -> str:
        await may_be_said.wait()
        said.append("queued")
        return "queued"

    speaker = asyncio.create_task(despite_cancellation(last_word()))
    # When he is cancelled in the middle of it, again and again
    for _ in range(3):
        await asyncio.sleep(0)
        speaker.cancel()
    await asyncio.sleep(0)
    assert not speaker.done()
    # Then it is said all the same
    may_be_said.set()
    assert await asyncio.wait_for(speaker, 5) == "queued"
    assert said == ["queued"]


async def test_what_goes_wrong_with_a_last_word_is_told() -> None:
    async def failing() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await despite_cancellation(failing())
