"""The helpers of a run: how many windows they may have, and when nobody is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.transcription import Interval, Segment, TranscribeOptions, Word
from natscribe.schemas.windows import LONGEST_TEXT, Window, WindowReply, WindowRequest, WindowText
from natscribe.schemas.wire import Model
from structlog.testing import capture_logs

from app.cancellation import cancel_all
from app.engines.window_queue import Rank
from app.work_sharing.idle_workers import (
    FIRST_PAUSE_S,
    LATE_S,
    LONGEST_PAUSE_S,
    MOST_IDLE_WORKERS,
    WINDOWS_PER_IDLE_WORKER,
    IdleWorkerLostError,
    IdleWorkers,
)
from tests.fakes.engine import SOUND, segment

MODEL, FINGERPRINT = Model(name="base", revision="1"), "0.3.0 cpu int8 beam 5"
WINDOW = Window(regions=[(0.0, 0.003)], samples="AAAA" * 32)
Reply = Callable[[], WindowReply]


def text_of(worker: int) -> WindowReply:
    return WindowReply(worker=f"{worker:032x}", text=WindowText(segments=[], end=WINDOW.end))


@dataclass
class FakeNats:
    """Replies as a test wants; an error is raised."""

    reply: WindowReply | Exception
    asked: list[tuple[str, WindowRequest]] = field(default_factory=list)

    async def request(self, subject: str, body: bytes, timeout: float) -> Msg:  # noqa: ASYNC109 -- as nats-py has it
        assert timeout > 0
        self.asked.append((subject, WindowRequest.model_validate_json(body)))
        if isinstance(self.reply, Exception):
            raise self.reply
        return Msg(cast("Client", self), "", data=self.reply.model_dump_json().encode())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nats() -> FakeNats:
    return FakeNats(text_of(1))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def helpers(nats: FakeNats, clock: Clock) -> IdleWorkers:
    return IdleWorkers(cast("Client", nats), "windows.transcribe.x", MODEL, FINGERPRINT, clock=clock)


@pytest.fixture
def ask(helpers: IdleWorkers) -> Callable[[], Awaitable[WindowText]]:
    return lambda: helpers.transcribe(WINDOW, TranscribeOptions(translate=True), "de", Rank.OWN)


async def test_a_window_is_sent_with_all_on_which_its_text_depends(
    nats: FakeNats, ask: Callable[[], Awaitable[WindowText]]
) -> None:
    assert (await ask()).end == WINDOW.end
    ((subject, request),) = nats.asked
    assert subject == "windows.transcribe.x"
    assert request == WindowRequest(
        window=WINDOW, options=TranscribeOptions(translate=True), previous="de", model=MODEL, fingerprint=FINGERPRINT
    )


async def test_more_windows_go_to_more_helpers(
    helpers: IdleWorkers, nats: FakeNats, ask: Callable[[], Awaitable[WindowText]]
) -> None:
    # Given a run that knows of nobody, then one window finds out whether there is anybody
    assert helpers.room == 1
    # When different workers answer, then each of them may have some, and one more may be found
    for worker in range(1, MOST_IDLE_WORKERS + 3):
        nats.reply = text_of(worker)
        await ask()
        await ask()
        assert helpers.room > 1
        assert helpers.room == min(worker + 1, MOST_IDLE_WORKERS) * WINDOWS_PER_IDLE_WORKER


@pytest.mark.parametrize(
    "nothing", [NoRespondersError(), NatsTimeoutError(), WindowReply(worker="0" * 32, text=None)], ids=str
)
async def test_after_a_request_without_a_text_nobody_is_asked_for_a_while(
    helpers: IdleWorkers,
    nats: FakeNats,
    clock: Clock,
    ask: Callable[[], Awaitable[WindowText]],
    nothing: WindowReply | Exception,
) -> None:
    # Given a helper that is known
    await ask()
    # When a request gets no text, again and again, then the pause doubles up to its limit
    nats.reply = nothing
    pauses = []
    for _ in range(8):
        with pytest.raises(IdleWorkerLostError):
            await ask()
        assert helpers.room == 0
        began = clock.now
        while not helpers.room:
            clock.now += FIRST_PAUSE_S / 10
        pauses.append(clock.now - began)
        assert helpers.room == 1
    doubled = [min(FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S) for number in range(8)]
    assert pauses == pytest.approx(doubled, abs=FIRST_PAUSE_S / 5)
    # And when somebody answers, the next pause is short again
    nats.reply = text_of(2)
    await ask()
    assert helpers.room == 2 * WINDOWS_PER_IDLE_WORKER
    nats.reply = nothing
    with pytest.raises(IdleWorkerLostError):
        await ask()
    clock.now += FIRST_PAUSE_S * 1.1
    assert helpers.room == 1


async def test_who_may_be_asked_again_is_asked_at_once_and_a_second_failure_doubles_the_pause(
    helpers: IdleWorkers, nats: FakeNats, clock: Clock, ask: Callable[[], Awaitable[WindowText]]
) -> None:
    nats.reply = NoRespondersError()
    for pause in (FIRST_PAUSE_S, 2 * FIRST_PAUSE_S):
        with pytest.raises(IdleWorkerLostError):
            await ask()
        assert helpers.room == 0
        clock.now += pause
        assert helpers.room == 1


@pytest.mark.parametrize(("seconds", "late"), [(LATE_S, False), (LATE_S + 1, True)])
async def test_a_helper_that_was_outrun_is_asked_again_unless_it_is_late(
    helpers: IdleWorkers, nats: FakeNats, clock: Clock, seconds: float, late: bool
) -> None:
    # Given a helper that has a window while the own engine transcribes it, too
    clock.now, asked = 100.0, asyncio.Event()

    async def never(*_: object, **__: object) -> Msg:
        asked.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]  # it is cancelled

    nats.request = never  # type: ignore[method-assign]
    asking = asyncio.create_task(helpers.transcribe(WINDOW, TranscribeOptions(), None, Rank.OWN))
    await asked.wait()
    # When that is done
    clock.now += seconds
    await cancel_all([asking])
    # Then nobody is asked for a while if this took long
    assert (helpers.room == 0) is late


def said(**changes: object) -> Segment:
    """What is said in the window from second 10 to 20, in English."""
    return segment(1).model_copy(update=changes)


def heard(*segments: Segment, **changes: object) -> WindowText:
    """The text of that window."""
    return WindowText(segments=list(segments), language="en", end=20.0).model_copy(update=changes)


def word(text: str = " one", start: float = 10.0, end: float = 20.0) -> list[Word]:
    return [Word(start=start, end=end, word=text, probability=1)]


async def reply_to_english(helpers: IdleWorkers, nats: FakeNats, text: WindowText) -> WindowText:
    """Have a helper answer for that window, of a recording in English."""
    nats.reply = WindowReply(worker="0" * 32, text=text)
    window = Window(regions=[(10.0, 20.0)], samples=SOUND)
    return await helpers.transcribe(window, TranscribeOptions(language="en"), None, Rank.OWN)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(heard(segment(0)), id="before the window"),
        pytest.param(heard(segment(2)), id="behind the window"),
        pytest.param(heard(said(start=15.0, end=12.0)), id="an end before its start"),
        pytest.param(heard(said(words=word(end=21.0))), id="a word behind the window"),
        pytest.param(heard(said(), untranscribed=[Interval(start=20, end=25)]), id="a gap behind the window"),
        pytest.param(heard(said(), end=30.0), id="another end"),
        pytest.param(heard(said(), channel=1), id="another channel"),
        pytest.param(heard(said(channel=1)), id="a segment of another channel"),
        pytest.param(heard(said(speaker="SPEAKER_00")), id="a speaker"),
        pytest.param(heard(said(language="de")), id="a segment in another language"),
        pytest.param(heard(said(), language="de"), id="another language"),
        pytest.param(heard(said(), said(words=None)), id="no words"),
        pytest.param(heard(said(text="x" * 5), said(text="x" * (LONGEST_TEXT - 4))), id="too much text"),
        pytest.param(heard(said(words=word("x" * 5)), said(words=word("x" * (LONGEST_TEXT - 4)))), id="too long words"),
    ],
)
async def test_a_text_that_cannot_be_that_of_the_window_is_none(
    helpers: IdleWorkers, nats: FakeNats, text: WindowText
) -> None:
    with capture_logs() as lines, pytest.raises(IdleWorkerLostError):
        await reply_to_english(helpers, nats, text)
    assert helpers.workers == 0
    assert [line["event"] for line in lines] == ["helper_answer_rejected"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(heard(), id="nothing is said"),
        pytest.param(heard(said(start=9.998, end=20.002), end=20.002), id="rounded times"),
        pytest.param(heard(said(language=None), language=None), id="a model that knows no language"),
        pytest.param(heard(said(language=None)), id="a segment in any language"),
        pytest.param(heard(said(start=12.0, end=12.0)), id="a moment"),
        pytest.param(heard(said(text="x" * LONGEST_TEXT, words=word("x" * LONGEST_TEXT))), id="as much as can be"),
    ],
)
async def test_any_text_that_may_be_that_of_the_window_is_taken(
    helpers: IdleWorkers, nats: FakeNats, text: WindowText
) -> None:
    with capture_logs() as lines:
        assert await reply_to_english(helpers, nats, text) == text
    assert (helpers.workers, lines) == (1, [])
