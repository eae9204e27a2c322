"""The events of turns, whatever people do and however late their text is."""

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from natscribe.schemas.live import LiveTask, TurnEvent, TurnState
from natscribe.schemas.transcription import Segment

from app.engines.windows import Window, WindowText
from app.speech.live.source import LiveSource
from app.speech.live.turns import TurnPublisher
from app.speech.redaction import Redactor
from app.speech.updates import Checkpoint
from tests.fakes.engine import FakeEngine

WHOLE = r"(s(er)*(e?d))*(s(er)*e?)?"  # started, eager_end, resumed, ended: each turn, the last one perhaps not over
LETTERS = {TurnState.STARTED: "s", TurnState.EAGER_END: "e", TurnState.RESUMED: "r", TurnState.ENDED: "d"}


def text(words: str, end: float) -> WindowText:
    segments = [Segment(start=0, end=end, text=words)] if words else []
    return WindowText(segments=segments, language="en", end=end)


class Conversation:
    """Somebody who speaks, pauses and continues, and an engine that is late at will."""

    def __init__(self, redact: object = None) -> None:
        self.events: list[TurnEvent] = []
        self.second, self.start, self.complete_until = 1.0, 1.0, 0.0
        self.source = SimpleNamespace(
            open=[],
            speaking={},
            task=LiveTask.model_validate({"task_id": "live-1", "user_id": 7, "redact": redact}),
            is_over=lambda _, start: self.is_over(start),
        )
        redactor = Redactor(self.source.task, Checkpoint(), FakeEngine())
        self.turns = TurnPublisher(cast("LiveSource", self.source), self.publish, redactor.preview)
        self.pending: list[asyncio.Future[WindowText]] = []

    def is_over(self, start: float) -> bool:
        return start < self.complete_until

    async def publish(self, event: TurnEvent) -> None:
        await asyncio.sleep(0)  # as over a network
        self.events.append(event)

    async def speak(self) -> None:
        self.second += 1
        self.source.open = [Window(regions=[(self.start, self.second)], samples="")]
        await self.turns.follow()

    async def pause(self) -> None:
        """Start to transcribe the speech so far, and cancel what was started before."""
        self.source.open = []
        await self.turns.follow()
        for before in self.pending:
            before.cancel()
        early = asyncio.get_running_loop().create_future()
        self.pending = [early]
        task = asyncio.ensure_future(_result(early))
        self.turns.pause(Window(regions=[(self.start, self.second)], samples=""), task)

    async def transcribe(self, words: str = "early") -> None:
        """Finish the early transcription, if there is one."""
        for early in self.pending:
            if not early.done():
                early.set_result(text(words, self.second))
        for _ in range(10):
            await asyncio.sleep(0)

    async def complete(self, words: str = "early") -> None:
        """End the utterance with its final text; the next one begins after it."""
        self.source.open, self.complete_until = [], self.second
        await self.turns.end(text(words, self.second))
        self.start = self.second = self.second + 1

    async def other_text(self) -> None:
        await self.complete("other")

    async def nothing(self) -> None:
        await self.complete("")

    async def interrupted(self) -> None:
        """The next utterance begins before the final text of this one."""
        last, self.complete_until = self.second, self.second
        self.start = self.second + 1
        await self.speak()
        await self.turns.end(text("early", last))


async def _result(future: "asyncio.Future[WindowText]") -> WindowText:
    return await future


async def events_of(actions: Sequence[str], redact: object = None) -> list[TurnEvent]:
    conversation = Conversation(redact)
    for action in actions:
        await getattr(conversation, action)()
    for early in conversation.pending:
        early.cancel()
    await asyncio.sleep(0)
    await conversation.turns.close()
    return conversation.events


ACTIONS = ("speak", "pause", "transcribe", "complete", "other_text", "nothing", "interrupted")


@given(st.lists(st.sampled_from(ACTIONS), max_size=30))
def test_events_keep_their_promises_whatever_happens(actions: Sequence[str]) -> None:
    events = asyncio.run(events_of(actions))
    # Each turn starts once and ends once, and after an eager end it is resumed or has ended
    assert re.fullmatch(WHOLE, "".join(LETTERS[event.state] for event in events))
    # And it ends with the text of the eager end right before
    for before, after in pairwise(events):
        if (before.state, after.state) == (TurnState.EAGER_END, TurnState.ENDED):
            assert after.text == before.text
        if after.state is not TurnState.STARTED:
            assert after.start == before.start


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (["speak", "pause", "transcribe", "complete"], "sed"),
        (["speak", "pause", "complete"], "sd"),  # the text was late
        (["speak", "pause", "transcribe", "speak", "pause", "transcribe", "complete"], "sered"),
        (["speak", "pause", "speak", "transcribe", "complete"], "sd"),  # the pause was over before its text was there
        (["speak", "pause", "transcribe", "other_text"], "serd"),
        (["speak", "nothing"], "sd"),
        (["speak", "pause", "transcribe", "pause", "transcribe", "complete"], "sered"),  # a short word in between
        (["nothing"], ""),
        (["complete"], "sd"),  # much audio at once
        (["speak", "pause", "transcribe", "interrupted", "speak", "complete"], "sedsd"),
    ],
)
async def test_a_turn_has_the_events_that_people_hear(actions: Sequence[str], expected: str) -> None:
    assert "".join(LETTERS[event.state] for event in await events_of(actions)) == expected
