"""Publishes the turns events of a live task: who begins to speak, pauses, continues, and has ended.

A turn is an utterance as people hear it: it starts when somebody speaks, and has ended when its text is final.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from natscribe.schemas.live import TurnEvent, TurnState

from app.engines.windows import Window, WindowText
from app.runtime.errors import TaskError
from app.speech.live.source import LiveSource


@dataclass(eq=False, slots=True)
class _Turn:
    """A turn that has not ended.

    `start`: where it starts, in seconds from the start of the audio. `paused_at`: where the speech before the pause
    ends, in seconds; None: somebody speaks. `eager`: the text of the eager end that was published in this pause.
    """

    start: float
    paused_at: float | None = None
    eager: str | None = None

    def is_paused_before(self, end: float) -> bool:
        """Return whether there is a pause, before which the speech ends earlier than at `end`, in seconds."""
        return self.paused_at is not None and self.paused_at < end


@dataclass(eq=False, slots=True)
class TurnPublisher:
    """Publishes the events of the turns in each channel, at most one turn at a time in a channel.

    After an eager end, either `resumed` or `ended` follows; if `ended` follows, both have the same text. `preview`:
    returns a text as the task publishes it.
    """

    source: LiveSource
    publish: Callable[[TurnEvent], Awaitable[None]]
    preview: Callable[[WindowText], Awaitable[WindowText]]
    _turns: dict[int | None, _Turn] = field(default_factory=dict, init=False)  # by channel
    _pauses: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _publishing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)  # events stay in order

    def needs_open(self) -> bool:
        """Return whether the engine's next reply should include the utterances in progress: a pause may be over."""
        return any(turn.paused_at is not None for turn in self._turns.values())

    async def follow(self) -> None:
        """Publish which turns have started, or continue after a pause, according to the source's open utterances."""
        async with self._publishing:
            for window in self.source.open:
                turn = self._turns.get(window.channel)
                if turn is None and not self.source.is_over(window.channel, window.start):
                    self._turns[window.channel] = _Turn(window.start)
                    await self._publish(TurnState.STARTED, window.channel, window.start, window.end)
                elif turn is not None and turn.start == window.start and turn.is_paused_before(window.end):
                    await self._resume(turn, window.channel, window.end)

    def pause(self, window: Window, text: "asyncio.Task[WindowText]") -> None:
        """Note the pause after an utterance; publish the eager end once its `text` is there, if the pause lasts."""
        turn = self._turns.get(window.channel)
        if turn is not None and turn.start == window.start:
            turn.paused_at = window.end
            waiting = asyncio.create_task(self._end_eagerly(turn, window, text))
            self._pauses.add(waiting)
            waiting.add_done_callback(self._pauses.discard)

    async def end(self, text: WindowText) -> None:
        """Publish that the turn whose final text this is has ended.

        If so much audio was processed at once that nobody noticed it begin, also publish that it has started; and
        publish neither if the next turn has started already.
        """
        async with self._publishing:
            turn, words = self._turns.get(text.channel), words_of(text)
            if (turn is None and not words) or (turn is not None and turn.start >= text.end):
                return
            if turn is None:
                turn = _Turn(text.segments[0].start)
                await self._publish(TurnState.STARTED, text.channel, turn.start, text.end)
            self._turns.pop(text.channel, None)
            if words != turn.eager:
                await self._resume(turn, text.channel, text.end)
            await self._publish(TurnState.ENDED, text.channel, turn.start, text.end, words)

    async def close(self) -> None:
        """Publish no eager end any more."""
        for waiting in self._pauses:
            waiting.cancel()
        await asyncio.gather(*self._pauses, return_exceptions=True)

    async def _end_eagerly(self, turn: _Turn, window: Window, text: "asyncio.Task[WindowText]") -> None:
        await asyncio.wait([text])
        if text.cancelled() or text.exception():
            return
        try:
            words = words_of(await self.preview(text.result()))
        except TaskError:  # the final text has its own attempts
            return
        async with self._publishing:
            if self._turns.get(window.channel) is turn and turn.paused_at == window.end:
                if turn.eager is not None:  # somebody has said so little since that no open utterance showed it
                    await self._publish(TurnState.RESUMED, window.channel, turn.start, window.end)
                turn.eager = words
                await self._publish(TurnState.EAGER_END, window.channel, turn.start, window.end, turn.eager)

    async def _resume(self, turn: _Turn, channel: int | None, end: float) -> None:
        """Note that a turn continues; publish it if an eager end was published."""
        was_eager, turn.paused_at, turn.eager = turn.eager is not None, None, None
        if was_eager:
            await self._publish(TurnState.RESUMED, channel, turn.start, end)

    async def _publish(self, state: TurnState, channel: int | None, start: float, end: float, text: str = "") -> None:
        await self.publish(
            TurnEvent(
                task_id=self.source.task.task_id,
                state=state,
                channel=channel,
                start=start,
                end=end,
                text=text,
                speaker=self.source.speaking.get(channel),
            )
        )


def words_of(text: WindowText) -> str:
    """Return the text of a turn."""
    return " ".join(segment.text.strip() for segment in text.segments)
