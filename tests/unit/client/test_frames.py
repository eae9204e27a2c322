"""Frames of live audio: how audio is split, how many frames are pending, and how lost ones are repeated."""

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
from natscribe.schemas.live import MAX_FRAME_BYTES, Codec, LiveAudio

from tests.constants import Constants

PCM = LiveAudio()
STEREO = LiveAudio(sample_rate=44_100, channels=2)
CALL = LiveAudio(codec=Codec.MULAW, sample_rate=8000, channels=2)
OPUS = LiveAudio(codec=Codec.OPUS, sample_rate=48_000)


class Server(Connection):
    """A server that stores frames, unless `errors` has errors for them."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.audio = b""
        self.acknowledges = asyncio.Event()
        self.acknowledges.set()
        self.errors: dict[str, list[Exception]] = {}  # of the next publishes of a frame
        self.is_disconnected = False
        self.loses_connection = False  # with each error

    @property
    def is_connected(self) -> bool:
        return not self.is_disconnected

    @property
    def is_closed(self) -> bool:
        return False

    def jetstream(self, **_: object) -> JetStreamContext:
        return cast("JetStreamContext", self)  # only `publish` is used

    async def publish(self, _: str, audio: bytes, *__: object, headers: dict[str, str], **___: object) -> PubAck:  # type: ignore[override]
        frame = headers["Nats-Msg-Id"]
        if self.errors.get(frame):
            self.is_disconnected = self.loses_connection
            raise self.errors[frame].pop(0)
        is_duplicate = frame in self.stored
        if not is_duplicate:  # as JetStream, which drops a second frame with an id
            self.stored.append(frame)
            self.audio += audio
        await self.acknowledges.wait()
        return PubAck("transcription_live", 1, duplicate=is_duplicate or None)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def frames(server: Server, constants: Constants) -> AsyncIterator[FramePublisher]:
    constants(REPUBLISH_FRAME_AFTER_S=0.001)
    publishing = FramePublisher(server, "t1", 0, max_bytes=20)
    yield publishing
    await publishing.close()


@pytest.mark.parametrize(("audio", "frame"), [(PCM, 3200), (STEREO, 4 * 4410), (CALL, 2 * 800)])
def test_audio_is_split_between_samples_without_loss(audio: LiveAudio, frame: int) -> None:
    # Given audio in pieces of any size
    content = bytes(number % 251 for number in range(5 * frame + frame // 2))
    splitter = FrameSplitter(audio)
    split: list[bytes] = []
    # When it is split
    for start in range(0, len(content), 777):
        split += splitter.split(content[start : start + 777])
    # Then each frame has 0.1 s, and the remainder has the rest
    assert [len(part) for part in split] == [frame] * 5
    assert b"".join(split) + splitter.remainder() == content
    assert FRAME_S == 0.1


def test_an_incomplete_sample_at_the_end_is_dropped() -> None:
    splitter = FrameSplitter(STEREO)
    assert list(splitter.split(b"12345")) == []
    assert splitter.remainder() == b"1234"


def test_opus_is_split_only_above_the_largest_frame() -> None:
    splitter = FrameSplitter(OPUS)
    assert list(splitter.split(b"page")) == [b"page"]
    assert [len(part) for part in splitter.split(bytes(MAX_FRAME_BYTES + 5))] == [MAX_FRAME_BYTES, 5]
    assert splitter.remainder() == b""


async def test_a_frame_is_published_when_the_previous_one_is_stored(server: Server, frames: FramePublisher) -> None:
    # Given a server that acknowledges nothing yet, and as many frames as may wait
    server.acknowledges.clear()
    for number in range(MAX_PENDING_FRAMES):
        await frames.put(bytes([number]) * 4)
        await _turns()
    # When one more frame is sent, then it waits, and only the first one is published
    sending = asyncio.create_task(frames.put(b"last", is_last=True))
    await _turns()
    assert server.stored == ["t1-0"]
    assert not sending.done()
    # When the first is acknowledged
    server.acknowledges.set()
    await sending
    await frames.wait_until_stored()
    # Then the others follow in order, joined to frames of limited size
    assert server.audio == b"".join(bytes([number]) * 4 for number in range(MAX_PENDING_FRAMES)) + b"last"
    assert server.stored == [f"t1-{number}" for number in range(len(server.stored))]
    assert len(server.stored) <= MAX_PENDING_FRAMES // 2


async def _turns() -> None:
    """Let other asyncio tasks run."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("lost", [nats.errors.TimeoutError(), NoStreamResponseError()], ids=["no answer", "no leader"])
async def test_an_unacknowledged_frame_is_published_again_before_new_frames(
    server: Server, frames: FramePublisher, lost: Exception
) -> None:
    # Given a server that loses frames, and acknowledgements
    server.errors = {"t1-0": [lost, lost], "t1-2": [lost]}
    # When audio is sent
    for number in range(100):
        await frames.put(bytes([number]) * 4, is_last=number == 99)
    await frames.wait_until_stored()
    # Then all of it is stored once, in order
    assert server.audio == b"".join(bytes([number]) * 4 for number in range(100))
    assert server.stored == [f"t1-{number}" for number in range(len(server.stored))]


@pytest.mark.parametrize(
    ("refusal", "error"),
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
    server: Server, frames: FramePublisher, refusal: Exception, error: type[Exception]
) -> None:
    # Given a server that refuses a frame
    server.errors = {"t1-0": [refusal]}
    await frames.put(b"audio")
    # Then waiting for it raises the error, and so does sending more
    with pytest.raises(error):
        await frames.wait_until_stored()
    with pytest.raises(error):
        await frames.put(b"audio")


async def test_a_frame_of_another_program_with_the_same_number_is_an_error(
    server: Server, frames: FramePublisher
) -> None:
    # Given another program that has sent frame 1 of the task
    server.stored.append("t1-1")
    # When this one sends frames 0 and 1, then its audio is not lost silently
    await frames.put(b"mine")
    await frames.wait_until_stored()
    await frames.put(b"mine, too")
    with pytest.raises(OtherSenderError, match="start another live"):
        await frames.wait_until_stored()
    assert server.audio == b"mine"


async def test_a_lost_acknowledgement_of_an_own_frame_is_no_error(server: Server, frames: FramePublisher) -> None:
    # Given a server that has stored a frame, but whose acknowledgement is lost
    server.errors = {"t1-0": [nats.errors.TimeoutError()]}
    server.stored.append("t1-0")
    # When the frame is sent again, then it is stored
    await frames.put(b"audio")
    await frames.wait_until_stored()


async def test_publishing_to_a_connected_server_that_stores_nothing_is_given_up(
    server: Server, frames: FramePublisher, constants: Constants
) -> None:
    constants(RETRY_FOR_S=0)
    server.errors = {"t1-0": [nats.errors.TimeoutError()] * 1000}
    await frames.put(b"audio")
    with pytest.raises(UnreachableError, match=r"live - --resume .*resume=True"):
        await frames.wait_until_stored()


async def test_an_outage_of_the_server_is_waited_out(
    server: Server, frames: FramePublisher, constants: Constants
) -> None:
    # Given an outage that lasts longer than a connected server may take
    constants(RETRY_FOR_S=0.05)
    server.errors = {"t1-0": [nats.errors.TimeoutError(), nats.errors.TimeoutError()]}
    server.loses_connection = True
    await frames.put(b"audio")
    stored = asyncio.create_task(frames.wait_until_stored())
    await asyncio.wait([stored], timeout=0.1)
    assert not stored.done()
    # When the connection is restored
    server.is_disconnected = server.loses_connection = False
    # Then the audio is stored, even after another lost frame
    await stored
    assert server.stored == ["t1-0"]
