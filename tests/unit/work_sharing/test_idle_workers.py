"""The idle workers of a run: how many windows they may have, and when they get none."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from faststream import StreamMessage
from faststream.nats.publisher.usecase import LogicPublisher
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.transcription import Interval, Segment, TranscribeOptions, Word
from natscribe.schemas.wire import Model
from structlog.testing import capture_logs

from app.engines.window_queue import Rank
from app.engines.windows import MAX_TEXT_CHARS, Window, WindowReply, WindowRequest, WindowText
from app.runtime.cancellation import cancel_all
from app.speech.window_sharing.idle_workers import (
    FIRST_PAUSE_S,
    LATE_S,
    MAX_IDLE_WORKERS,
    MAX_PAUSE_S,
    WINDOWS_PER_IDLE_WORKER,
    IdleWorkerLostError,
    IdleWorkers,
)
from tests.fakes.engine import SAMPLES, segment

MODEL, FINGERPRINT = Model(name="base", revision="1"), "0.3.0 cpu int8 beam 5"
WINDOW = Window(regions=[(0.0, 0.003)], samples="AAAA" * 32)


def text_of(worker: int) -> WindowReply:
    return WindowReply(worker=f"{worker:032x}", text=WindowText(segments=[], end=WINDOW.end))


@dataclass
class FakePublisher:
    """Replies with `reply`, or raises it."""

    reply: WindowReply | Exception | bytes
    requests: list[tuple[str, WindowRequest]] = field(default_factory=list)

    async def request(self, body: WindowRequest, subject: str, timeout: float) -> StreamMessage[None]:  # noqa: ASYNC109 -- as FastStream has it
        assert timeout > 0
        self.requests.append((subject, body))
        if isinstance(self.reply, Exception):
            raise self.reply
        reply = self.reply if isinstance(self.reply, bytes) else self.reply.model_dump_json().encode()
        return StreamMessage(None, body=reply)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nats() -> FakePublisher:
    return FakePublisher(text_of(1))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def idle_workers(nats: FakePublisher, clock: Clock) -> IdleWorkers:
    return IdleWorkers(cast("LogicPublisher", nats), "windows.transcribe.x", MODEL, FINGERPRINT, clock=clock)


@pytest.fixture
def transcribe(idle_workers: IdleWorkers) -> Callable[[], Awaitable[WindowText]]:
    return lambda: idle_workers.transcribe(WINDOW, TranscribeOptions(translate=True), "de", Rank.OWN)


async def test_a_window_is_sent_with_all_on_which_its_text_depends(
    nats: FakePublisher, transcribe: Callable[[], Awaitable[WindowText]]
) -> None:
    assert (await transcribe()).end == WINDOW.end
    ((subject, request),) = nats.requests
    assert subject == "windows.transcribe.x"
    assert request == WindowRequest(
        window=WINDOW, options=TranscribeOptions(translate=True), previous="de", model=MODEL, fingerprint=FINGERPRINT
    )


async def test_more_idle_workers_get_more_windows(
    idle_workers: IdleWorkers, nats: FakePublisher, transcribe: Callable[[], Awaitable[WindowText]]
) -> None:
    # Given a run without a reply yet, then one window may be sent
    assert idle_workers.room == 1
    # When different workers reply, then each of them may have windows, and one more worker may be found
    for worker in range(1, MAX_IDLE_WORKERS + 3):
        nats.reply = text_of(worker)
        await transcribe()
        await transcribe()
        assert idle_workers.room > 1
        assert idle_workers.room == min(worker + 1, MAX_IDLE_WORKERS) * WINDOWS_PER_IDLE_WORKER


@pytest.mark.parametrize(
    "reply",
    [
        NoRespondersError(),
        NatsTimeoutError(),
        WindowReply(worker="0" * 32, text=None),
        b"\xff{no json",
        b'{"error": {"code": "internal", "message": "no"}}',
    ],
    ids=str,
)
async def test_a_request_without_a_text_starts_a_pause(
    idle_workers: IdleWorkers,
    nats: FakePublisher,
    clock: Clock,
    transcribe: Callable[[], Awaitable[WindowText]],
    reply: WindowReply | Exception | bytes,
) -> None:
    # Given an idle worker that has replied
    await transcribe()
    # When requests repeatedly get no text, then the pause doubles up to its limit
    nats.reply = reply
    pauses = []
    for _ in range(8):
        with pytest.raises(IdleWorkerLostError):
            await transcribe()
        assert idle_workers.room == 0
        began = clock.now
        while not idle_workers.room:
            clock.now += FIRST_PAUSE_S / 10
        pauses.append(clock.now - began)
        assert idle_workers.room == 1
    doubled = [min(FIRST_PAUSE_S * 2**number, MAX_PAUSE_S) for number in range(8)]
    assert pauses == pytest.approx(doubled, abs=FIRST_PAUSE_S / 5)
    # And when a worker replies, the next pause is short again
    nats.reply = text_of(2)
    await transcribe()
    assert idle_workers.room == 2 * WINDOWS_PER_IDLE_WORKER
    nats.reply = reply
    with pytest.raises(IdleWorkerLostError):
        await transcribe()
    clock.now += FIRST_PAUSE_S * 1.1
    assert idle_workers.room == 1


@pytest.mark.parametrize(("seconds", "late"), [(LATE_S, False), (LATE_S + 1, True)])
async def test_a_cancelled_request_starts_a_pause_only_if_it_was_late(
    idle_workers: IdleWorkers, nats: FakePublisher, clock: Clock, seconds: float, late: bool
) -> None:
    # Given an idle worker that has a window which the engine of this worker also transcribes
    clock.now, is_requested = 100.0, asyncio.Event()

    async def never(*_: object, **__: object) -> StreamMessage[None]:
        is_requested.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]  # it is cancelled

    nats.request = never  # type: ignore[method-assign]
    pending = asyncio.create_task(idle_workers.transcribe(WINDOW, TranscribeOptions(), None, Rank.OWN))
    await is_requested.wait()
    # When the engine of this worker is faster
    clock.now += seconds
    await cancel_all([pending])
    # Then a pause starts if the idle worker was late
    assert (idle_workers.room == 0) is late


def english(**changes: object) -> Segment:
    """A segment of the window from second 10 to 20, in English."""
    return segment(1).model_copy(update=changes)


def text_with(*segments: Segment, **changes: object) -> WindowText:
    """The text of that window."""
    return WindowText(segments=list(segments), language="en", end=20.0).model_copy(update=changes)


def word(text: str = " one", start: float = 10.0, end: float = 20.0) -> list[Word]:
    return [Word(start=start, end=end, word=text, probability=1)]


async def reply_to_english(idle_workers: IdleWorkers, nats: FakePublisher, text: WindowText) -> WindowText:
    """Have an idle worker reply to that window, of a recording in English."""
    nats.reply = WindowReply(worker="0" * 32, text=text)
    window = Window(regions=[(10.0, 20.0)], samples=SAMPLES)
    return await idle_workers.transcribe(window, TranscribeOptions(language="en"), None, Rank.OWN)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text_with(segment(0)), id="before the window"),
        pytest.param(text_with(segment(2)), id="behind the window"),
        pytest.param(text_with(english(start=15.0, end=12.0)), id="an end before its start"),
        pytest.param(text_with(english(words=word(end=21.0))), id="a word behind the window"),
        pytest.param(text_with(english(), untranscribed=[Interval(start=20, end=25)]), id="a gap behind the window"),
        pytest.param(text_with(english(), end=30.0), id="another end"),
        pytest.param(text_with(english(), channel=1), id="another channel"),
        pytest.param(text_with(english(channel=1)), id="a segment of another channel"),
        pytest.param(text_with(english(speaker="SPEAKER_00")), id="a speaker"),
        pytest.param(text_with(english(language="de")), id="a segment in another language"),
        pytest.param(text_with(english(), language="de"), id="another language"),
        pytest.param(text_with(english(), english(words=None)), id="no words"),
        pytest.param(text_with(english(text="x" * 5), english(text="x" * (MAX_TEXT_CHARS - 4))), id="too much text"),
        pytest.param(
            text_with(english(words=word("x" * 5)), english(words=word("x" * (MAX_TEXT_CHARS - 4)))),
            id="too long words",
        ),
    ],
)
async def test_an_implausible_text_is_rejected(
    idle_workers: IdleWorkers, nats: FakePublisher, text: WindowText
) -> None:
    with capture_logs() as lines, pytest.raises(IdleWorkerLostError):
        await reply_to_english(idle_workers, nats, text)
    assert idle_workers.workers == 0
    assert [line["event"] for line in lines] == ["shared_window_rejected"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text_with(), id="no speech"),
        pytest.param(text_with(english(start=9.998, end=20.002), end=20.002), id="rounded times"),
        pytest.param(text_with(english(language=None), language=None), id="a model that knows no language"),
        pytest.param(text_with(english(language=None)), id="a segment in any language"),
        pytest.param(text_with(english(start=12.0, end=12.0)), id="a moment"),
        pytest.param(
            text_with(english(text="x" * MAX_TEXT_CHARS, words=word("x" * MAX_TEXT_CHARS))), id="the longest text"
        ),
    ],
)
async def test_a_plausible_text_is_accepted(idle_workers: IdleWorkers, nats: FakePublisher, text: WindowText) -> None:
    with capture_logs() as lines:
        assert await reply_to_english(idle_workers, nats, text) == text
    assert (idle_workers.workers, lines) == (1, [])
