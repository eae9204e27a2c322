"""Which frames of a live task are read, when NATS, the stream or a client does what is unusual."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta

import pytest
from nats.errors import ConnectionClosedError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveAudio, LiveTask

from app.runtime.errors import PermanentError
from app.speech.live.frame_offsets import FrameOffset
from app.speech.live.frames import MAX_FRAMES_PER_PAGE, FrameReader, JoinedFrames
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, provisioned

READ = f"$JS.API.DIRECT.GET.{NAMES.live}"
TASK = LiveTask(task_id="live-1", user_id=7, audio=LiveAudio(sample_rate=8000))
SECOND = b"\1" * 16_000


def store(nats: InMemoryNats, number: int, data: bytes = SECOND, *, end: bool = False, mark: str | None = None) -> None:
    """Publish a frame, of a second unless it has other `data`."""
    headers = {"Nats-Msg-Id": f"live-1-{number}"} | ({"Natscribe-End": "true"} if end else {})
    headers |= {"Natscribe-Finalize": mark} if mark is not None else {}
    nats.streams[NAMES.live].publish(subjects.live_audio("live-1"), data, headers, nats.now)


def reader_of(nats: InMemoryNats, *, idle_seconds: float = 30) -> FrameReader:
    return FrameReader(nats.client, NAMES.live, TASK.model_copy(update={"idle_seconds": idle_seconds}))


async def audio_of(read: AsyncGenerator[JoinedFrames, None]) -> bytes:
    """Return the audio that is read until it ends."""
    async with aclosing(read):
        return b"".join([joined.data async for joined in read])


@pytest.fixture
async def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of the event loop on by so many seconds."""
    loop, skipped = asyncio.get_running_loop(), list[float]()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + sum(skipped))
    return skipped.append


async def test_an_outage_is_no_silence_of_the_client(
    nats: InMemoryNats, constants: Constants, later: Callable[[float], None]
) -> None:
    # Given a client that may be silent for half a minute, and an outage of NATS of a minute after all was read
    constants(POLL_S=0.01)
    loop = asyncio.get_running_loop()

    def goes_away() -> None:
        nats.is_connected = False
        loop.call_soon(later, 60)
        raise ConnectionClosedError

    def comes_back() -> None:
        nats.is_connected = True

    nats.before(READ, lambda: None, lambda: None, goes_away, comes_back, lambda: store(nats, 1, end=True))
    store(nats, 0)
    # When the client sends on a moment after NATS is back, then all of its audio is read
    assert await audio_of(reader_of(nats, idle_seconds=30).read(FrameOffset())) == 2 * SECOND


@pytest.mark.parametrize(("others", "count"), [(0, 3), (0, 7), (4, 7)])
async def test_an_offset_in_a_stream_that_was_recreated_hides_no_audio(others: int, count: int) -> None:
    # Given an offset behind five frames
    nats = await provisioned()
    for number in range(5):
        store(nats, number)
    start = FrameOffset(5, 5, 5 * len(SECOND))
    # When the stream is recreated, and the client sends on, with less or more frames than the offset counts
    nats = await provisioned()
    for _ in range(others):
        nats.streams[NAMES.live].publish(subjects.live_audio("other"), SECOND, {}, nats.now)
    for number in range(5, 5 + count):
        store(nats, number, end=number == 4 + count)
    # Then all of them are read
    assert await audio_of(reader_of(nats).read(start)) == count * SECOND


async def test_audio_continues_in_a_stream_that_is_recreated_meanwhile(
    nats: InMemoryNats, constants: Constants
) -> None:
    # Given a reader that has read five frames
    constants(POLL_S=0.02)
    for number in range(5):
        store(nats, number)
    read = reader_of(nats, idle_seconds=0.1).read(FrameOffset())
    first = await anext(read)
    assert first.frames == 5
    # When the stream is recreated, and the client sends on
    nats.streams[NAMES.live] = (await provisioned()).streams[NAMES.live]
    store(nats, 5)
    store(nats, 6, end=True)
    # Then its audio is read
    assert await audio_of(read) == 2 * SECOND


@pytest.mark.parametrize("name", [None, "other-1", "live-1-x", "live-1-\u0663", "live-1-\u00b2", "live-1-1000000000"])
async def test_a_client_that_is_silent_ends_its_audio_though_its_last_message_is_no_frame(
    nats: InMemoryNats, constants: Constants, name: str | None
) -> None:
    # Given frames, and a message that is no frame
    store(nats, 0)
    headers = {} if name is None else {"Nats-Msg-Id": name}
    nats.streams[NAMES.live].publish(subjects.live_audio("live-1"), SECOND, headers, nats.now)
    constants(POLL_S=0.01)
    reader = reader_of(nats, idle_seconds=0.1)
    # When the client is silent, then the audio ends, and a silence as short as that is not reported
    assert [(frames.data, frames.last) async for frames in reader.read(FrameOffset())] == [(SECOND, False), (b"", True)]
    assert reader.refused == 1


async def test_messages_that_are_no_frames_do_not_prolong_the_silence_of_a_client(
    nats: InMemoryNats, constants: Constants, later: Callable[[float], None]
) -> None:
    # Given a client that may be silent for half a minute, and a message that is no frame after 20 s of its silence
    constants(POLL_S=0.01)
    loop = asyncio.get_running_loop()

    def stray() -> None:
        nats.streams[NAMES.live].publish(subjects.live_audio("live-1"), SECOND, {}, nats.now)
        loop.call_soon(later, 20)

    store(nats, 0)
    nats.before(
        READ,
        *(lambda: None, lambda: None, lambda: loop.call_soon(later, 20)),  # a frame, the end, and 20 s without a frame
        *(stray, lambda: None, lambda: store(nats, 1, end=True)),  # a stray, another 20 s, and a frame
    )
    # When it sends on after 40 s, then its audio has ended
    assert await audio_of(reader_of(nats, idle_seconds=30).read(FrameOffset())) == SECOND


async def test_the_time_that_another_worker_has_waited_for_a_client_counts(
    nats: InMemoryNats, constants: Constants
) -> None:
    # Given a client that may be silent for a minute, and has sent nothing for longer
    constants(MIN_IDLE_S=0.05, POLL_S=0.01)
    store(nats, 0)
    nats.ahead = timedelta(seconds=100)
    # When another worker begins to read, then it soon ends the audio
    async with asyncio.timeout(30):
        assert await audio_of(reader_of(nats, idle_seconds=60).read(FrameOffset())) == SECOND


async def test_a_client_gets_some_more_time_when_another_worker_reads(nats: InMemoryNats, constants: Constants) -> None:
    # Given a client that has sent nothing for longer than it may, perhaps because of an outage of NATS
    constants(POLL_S=0.01, SILENCE_REPORT_EVERY_S=0.02)
    store(nats, 0)
    nats.ahead = timedelta(seconds=100)
    # When another worker begins to read, then it waits
    async with aclosing(reader_of(nats, idle_seconds=60).read(FrameOffset())) as read:
        assert (await anext(read)).data == SECOND
        assert not (await anext(read)).last
        # When the client comes back, then its audio is processed
        store(nats, 1, end=True)
        assert SECOND in [joined.data async for joined in read]


async def test_it_is_known_how_many_frames_wait(nats: InMemoryNats) -> None:
    for number in range(MAX_FRAMES_PER_PAGE + 10):
        store(nats, number, end=number == MAX_FRAMES_PER_PAGE + 9)
    read = reader_of(nats).read(FrameOffset())
    assert [(frames.frames, frames.waiting) async for frames in read] == [(MAX_FRAMES_PER_PAGE, 10), (10, 0)]


async def test_reading_starts_at_an_offset(nats: InMemoryNats) -> None:
    # Given five frames, and an offset behind the third
    for number in range(5):
        store(nats, number, end=number == 4)
    reader = reader_of(nats)
    # When the audio is read from there, then it has two frames
    assert await audio_of(reader.read(FrameOffset(3, 3, 3 * len(SECOND)))) == 2 * SECOND
    assert reader.offset == FrameOffset(5, 5, 5 * len(SECOND))
    # And when it is read from its begin to there, then it has three, at once
    async with asyncio.timeout(5):
        assert await audio_of(reader.read(FrameOffset(), until=3)) == 3 * SECOND


async def test_a_frame_with_a_high_number_is_a_minute_of_silence_at_most(nats: InMemoryNats) -> None:
    # Given a client whose second frame has a number that is far too high
    store(nats, 0)
    store(nats, 10**9 - 1, end=True)
    # When its audio is read, then a minute of silence is between the two
    assert await audio_of(reader_of(nats).read(FrameOffset())) == SECOND + bytes(60 * len(SECOND)) + SECOND


async def test_a_frame_that_cuts_a_sample_ends_the_task_and_no_audio_before_it_is_lost(nats: InMemoryNats) -> None:
    # Given two frames, and one with an odd number of bytes, behind which all samples would be noise
    for number, data in enumerate((SECOND, SECOND, SECOND[:-1], SECOND)):
        store(nats, number, data, end=number == 3)
    read = reader_of(nats).read(FrameOffset())
    # When they are read, then the audio before it comes first
    assert (await anext(read)).data == 2 * SECOND
    # And the error names the frame
    with pytest.raises(PermanentError, match=r"frame 2 has 15999 bytes.*whole samples") as caught:
        await anext(read)
    assert caught.value.detail.code is ErrorCode.AUDIO_UNREADABLE


async def test_the_last_frame_may_end_within_a_sample(nats: InMemoryNats) -> None:
    # Given a recorder that was stopped in the middle of a sample, when its audio is read, then it is all there
    store(nats, 0)
    store(nats, 1, SECOND[:-1], end=True)
    assert await audio_of(reader_of(nats).read(FrameOffset())) == SECOND + SECOND[:-1]


async def test_the_audio_up_to_a_mark_is_read_by_itself(nats: InMemoryNats) -> None:
    # Given frames with marks, one twice, one behind missing frames, and one after the end
    for number, mark in enumerate(("", "a", "a", "", "b")):
        store(nats, number, mark=mark or None)
    store(nats, 8, mark="c")
    store(nats, 9, b"", mark="d", end=True)
    store(nats, 10, mark="e")
    # When they are read, then no audio after a mark comes with the audio before it
    read = [(joined.frames, joined.mark) async for joined in reader_of(nats).read(FrameOffset())]
    assert read == [(2, "a"), (1, "a"), (2, "b"), (4, "c"), (1, "d")]


@pytest.mark.parametrize("mark", ["", "x" * 65, "a\x1bb", "ü", "a\tb"])
async def test_a_frame_with_an_invalid_mark_is_no_frame(nats: InMemoryNats, mark: str) -> None:
    # Given frames of which one has a mark that nobody may choose
    store(nats, 0)
    store(nats, 1, b"\2" * 16_000, mark=mark)
    store(nats, 2, mark="x" * 64, end=True)
    reader = reader_of(nats)
    # When they are read, then it is refused, and silence replaces it
    assert await audio_of(reader.read(FrameOffset())) == SECOND + bytes(len(SECOND)) + SECOND
    assert reader.refused == 1
