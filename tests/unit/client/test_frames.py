"""Frames of live sound: how sound is cut, how many frames are on their way, and what happens to a lost one."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError
from natscribe.client.errors import NotAllowedError, OtherSenderError, StorageFullError, UnreachableError
from natscribe.client.frames import FRAME_S, MAX_PENDING_FRAMES, FramePublisher, FrameSplitter
from natscribe.client.permissions import Connection
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.schemas.live import LARGEST_FRAME_BYTES, Codec, LiveAudio

PCM = LiveAudio()
STEREO = LiveAudio(sample_rate=44_100, channels=2)
CALL = LiveAudio(codec=Codec.MULAW, sample_rate=8000, channels=2)
OPUS = LiveAudio(codec=Codec.OPUS, sample_rate=48_000)


class Server(Connection):
    """A server that stores what it gets, unless it is told to answer otherwise."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.sound = b""
        self.unanswered: dict[str, asyncio.Future[PubAck]] = {}
        self.duplicates: dict[str, bool] = {}
        self.answers: dict[str, list[Exception]] = {}  # to the next publishes of a frame
        self.holds_answers = False
        self.is_away = False

    @property
    def is_connected(self) -> bool:
        return not self.is_away

    @property
    def is_closed(self) -> bool:
        return False

    def jetstream(self, **_: object) -> JetStreamContext:
        return cast("JetStreamContext", self)  # of which only `publish` is used

    async def publish(self, _: str, sound: bytes, *__: object, headers: dict[str, str], **___: object) -> PubAck:  # type: ignore[override]
        frame = headers["Nats-Msg-Id"]
        if self.answers.get(frame):
            raise self.answers[frame].pop(0)
        is_duplicate = frame in self.stored
        if not is_duplicate:  # as JetStream, which knows the id of a frame
            self.stored.append(frame)
            self.sound += sound
        acknowledged: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        self.unanswered[frame] = acknowledged
        self.duplicates[frame] = is_duplicate
        if not self.holds_answers:
            self.acknowledge()
        return await acknowledged

    def acknowledge(self) -> None:
        for frame, acknowledged in self.unanswered.items():
            acknowledged.set_result(PubAck("transcription_live", 1, duplicate=self.duplicates[frame] or None))
        self.unanswered = {}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def frames(server: Server) -> AsyncIterator[FramePublisher]:
    publishing = FramePublisher(server, "t1", 0, max_bytes=20, pause_s=0.001)
    yield publishing
    await publishing.close()


@pytest.mark.parametrize(("audio", "frame"), [(PCM, 3200), (STEREO, 4 * 4410), (CALL, 2 * 800)])
def test_sound_is_cut_between_samples_and_none_is_lost(audio: LiveAudio, frame: int) -> None:
    # Given sound that comes in pieces of any size
    sound = bytes(number % 251 for number in range(5 * frame + frame // 2))
    cutter = FrameSplitter(audio)
    cut: list[bytes] = []
    # When it is cut
    for start in range(0, len(sound), 777):
        cut += cutter.split(sound[start : start + 777])
    # Then each frame has a tenth of a second, and the rest is what is left
    assert [len(each) for each in cut] == [frame] * 5
    assert b"".join(cut) + cutter.remainder() == sound
    assert FRAME_S == 0.1


def test_half_a_sample_at_the_end_is_no_sound() -> None:
    cutter = FrameSplitter(STEREO)
    assert list(cutter.split(b"12345")) == []
    assert cutter.remainder() == b"1234"


def test_opus_goes_out_as_it_comes_unless_a_frame_would_be_too_large() -> None:
    cutter = FrameSplitter(OPUS)
    assert list(cutter.split(b"page")) == [b"page"]
    assert [len(each) for each in cutter.split(bytes(LARGEST_FRAME_BYTES + 5))] == [LARGEST_FRAME_BYTES, 5]
    assert cutter.remainder() == b""


async def test_a_frame_follows_when_the_one_before_is_stored(server: Server, frames: FramePublisher) -> None:
    # Given a server that acknowledges nothing yet, and as many frames as may wait
    server.holds_answers = True
    for number in range(MAX_PENDING_FRAMES):
        await frames.put(bytes([number]) * 4)
        await _turns()
    # When one frame more is sent, then it waits, and so do all but the first
    sending = asyncio.create_task(frames.put(b"last", is_last=True))
    await _turns()
    assert server.stored == ["t1-0"]
    assert not sending.done()
    # When the first is acknowledged
    server.holds_answers = False
    server.acknowledge()
    await sending
    await frames.wait_until_stored()
    # Then the others follow in order, joined to frames that are not too large
    assert server.sound == b"".join(bytes([number]) * 4 for number in range(MAX_PENDING_FRAMES)) + b"last"
    assert server.stored == [f"t1-{number}" for number in range(len(server.stored))]
    assert len(server.stored) <= MAX_PENDING_FRAMES // 2


async def _turns() -> None:
    """Let others do what they can do at once."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("lost", [nats.errors.TimeoutError(), NoStreamResponseError()], ids=["no answer", "no leader"])
async def test_what_was_not_acknowledged_is_published_again_before_what_is_new(
    server: Server, frames: FramePublisher, lost: Exception
) -> None:
    # Given a server that loses frames, and acknowledgements
    server.answers = {"t1-0": [lost, lost], "t1-2": [lost]}
    # When sound is sent
    for number in range(100):
        await frames.put(bytes([number]) * 4, is_last=number == 99)
    await frames.wait_until_stored()
    # Then all of it is stored once, in its order
    assert server.sound == b"".join(bytes([number]) * 4 for number in range(100))
    assert server.stored == [f"t1-{number}" for number in range(len(server.stored))]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            ServiceUnavailableError(code=503, err_code=QUEUE_FULL, description="maximum bytes exceeded"),
            StorageFullError,
        ),
        (NotAllowedError("follower", "live.audio.t1", ("publisher",)), NotAllowedError),
    ],
    ids=["full", "not allowed"],
)
async def test_a_refusal_is_an_error_of_the_next_call(
    server: Server, frames: FramePublisher, answer: Exception, error: type[Exception]
) -> None:
    # Given a server that refuses a frame
    server.answers = {"t1-0": [answer]}
    await frames.put(b"sound")
    # Then whoever waits for it is told, and so is whoever sends more
    with pytest.raises(error):
        await frames.wait_until_stored()
    with pytest.raises(error):
        await frames.put(b"sound")


async def test_a_frame_of_another_program_with_the_same_number_is_an_error(
    server: Server, frames: FramePublisher
) -> None:
    # Given another program that has sent frame 1 of the task
    server.stored.append("t1-1")
    # When this one sends frames 0 and 1, then its sound is not lost silently
    await frames.put(b"mine")
    await frames.wait_until_stored()
    await frames.put(b"mine, too")
    with pytest.raises(OtherSenderError, match="start another live"):
        await frames.wait_until_stored()
    assert server.sound == b"mine"


async def test_the_own_frame_whose_acknowledgement_was_lost_is_no_error(server: Server, frames: FramePublisher) -> None:
    # Given a server that has stored a frame, and whose acknowledgement does not come
    server.answers = {"t1-0": [nats.errors.TimeoutError()]}
    server.stored.append("t1-0")
    # When the frame is sent again, then it is stored
    await frames.put(b"sound")
    await frames.wait_until_stored()


@pytest.fixture
async def impatient(server: Server) -> AsyncIterator[FramePublisher]:
    publishing = FramePublisher(server, "t1", 0, max_bytes=20, pause_s=0.001, retry_for_s=0)
    yield publishing
    await publishing.close()


async def test_a_server_that_is_there_and_stores_nothing_is_given_up(server: Server, impatient: FramePublisher) -> None:
    server.answers = {"t1-0": [nats.errors.TimeoutError()] * 1000}
    await impatient.put(b"sound")
    with pytest.raises(UnreachableError, match=r"live - --resume .*resume=True"):
        await impatient.wait_until_stored()


async def test_a_server_that_is_away_is_not(server: Server, impatient: FramePublisher) -> None:
    # Given an outage that lasts longer than a server that is there may take
    server.is_away = True
    await impatient.put(b"sound")
    stored = asyncio.create_task(impatient.wait_until_stored())
    await asyncio.wait([stored], timeout=0.05)
    assert not stored.done()
    # When the server is back
    server.is_away = False
    # Then the sound is stored
    await stored
    assert server.stored == ["t1-0"]
