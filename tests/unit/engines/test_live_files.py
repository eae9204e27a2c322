"""Decoding of Opus in Ogg or WebM while the file is still being recorded."""

import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext
from types import SimpleNamespace
from typing import NoReturn

import av
import numpy as np
import numpy.typing as npt
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveAudio

from app.engines.audio import live_files
from app.engines.audio.live_files import FileDecoder
from app.engines.audio.live_pipe import Pipe
from app.runtime.errors import PermanentError, TransientError
from tests.constants import Constants

from .opus_files import RATE, hum, recorded

KINDS = ["ogg", "webm"]


def opus(**options: int) -> LiveAudio:
    return LiveAudio(codec=Codec.OPUS, sample_rate=options.get("rate", RATE), channels=options.get("channels", 1))


def decoded(audio: LiveAudio, file: bytes, size: int, skip: float = 0.0) -> npt.NDArray[np.float32]:
    """The samples that a file holds, (channel, time), if it comes in pieces of so many bytes."""
    with closing(FileDecoder(audio, skip)) as decoder:
        parts = [frame for at in range(0, len(file), size) for frame in decoder.decode(file[at : at + size])]
        parts += decoder.end()
        return np.concatenate([frame.to_ndarray() for frame in parts], axis=1)


def lost(file: bytes) -> float:
    with closing(FileDecoder(opus())) as decoder:
        _ = [*decoder.decode(file), *decoder.end()]
        return decoder.lost


def outcome(file: bytes) -> str:
    try:
        lost(file)
    except PermanentError as error:
        return error.detail.code
    return "audio"


def fails(file: bytes, size: int = 500, **options: int) -> str:
    with pytest.raises(PermanentError) as caught:
        decoded(opus(**options), file, size)
    assert caught.value.detail.code is ErrorCode.AUDIO_UNREADABLE
    return caught.value.detail.message


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Whatever happens to a stream, no thread is left."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_audio_that_nobody_needs_is_silence_of_its_length(kind: str) -> None:
    # Given a file, when only its last seconds are wanted
    file = recorded(kind, hum(8))
    whole, end = decoded(opus(), file, 500), decoded(opus(), file, 500, skip=6)
    # Then the audio before is silence, and what is wanted is where it was
    assert end.shape == whole.shape
    assert not end[:, RATE // 10 : 59 * RATE // 10].any()
    assert np.allclose(end[:, 65 * RATE // 10 :], whole[:, 65 * RATE // 10 :], rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [33, 4096, 1_000_000])
def test_a_file_is_decoded_wherever_it_is_cut(kind: str, channels: int, size: int) -> None:
    # Given a recording of three seconds
    samples = hum(3, channels)
    # When it comes in pieces
    samples_out = decoded(opus(channels=channels), recorded(kind, samples), size)
    # Then all of it is there, and has the same content
    assert samples_out.shape[1] / RATE == pytest.approx(3, abs=0.03)
    length = min(samples_out.shape[1], len(samples))
    for actual, expected in zip(samples_out, samples.T, strict=True):
        assert np.corrcoef(actual[:length], expected[:length])[0, 1] > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_decoded_does_not_depend_on_the_cuts(kind: str) -> None:
    # Given a recording, when it comes byte by byte and at once, then both are the same
    file = recorded(kind, hum(0.3))
    assert np.array_equal(decoded(opus(), file, 1), decoded(opus(), file, len(file)))


def test_audio_is_there_as_soon_as_its_bytes_are() -> None:
    # Given a recording of which the first half has come
    file, decoder = recorded("webm", hum(4)), FileDecoder(opus())
    # When a job has taken it, then nearly all of its audio is there, and the job does not wait for more
    frames = list(decoder.decode(file[: len(file) // 2]))
    assert sum(frame.samples for frame in frames) / RATE == pytest.approx(2, abs=0.3)
    decoder.close()


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_the_rate_may_be_that_of_the_recording_or_that_of_opus(rate: int) -> None:
    # Given a file whose header names the rate of the microphone
    file = recorded("ogg", hum(1, rate=rate), rate=rate)
    # When its task says either, then it is decoded
    for declared_rate in (rate, RATE):
        assert decoded(opus(rate=declared_rate), file, 1000).shape[1] / RATE == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorder_that_begins_again_continues(kind: str) -> None:
    # Given a page that was loaded again and so begins a second file
    file = recorded(kind, hum(1)) + recorded(kind, hum(1))
    # When both come one after the other, then the audio of both is there
    assert decoded(opus(), file, 700).shape[1] / RATE == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_other_channels_or_rate_than_declared_is_refused(kind: str) -> None:
    # Given a file of two channels with 48 kHz
    file = recorded(kind, hum(1, channels=2))
    # When its task says something else, then the error names both
    assert "2 channels and 48000 Hz, and its task says 1 and 48000 Hz" in fails(file)
    assert "2 channels and 48000 Hz, and its task says 2 and 44100 Hz" in fails(file, channels=2, rate=44_100)


@pytest.mark.parametrize(
    "file", [b"RIFF0000WAVEfmt " + bytes(100), bytes(1000), b"Og", b"#EXTM3U\nfile:///etc/passwd\n"]
)
def test_what_is_no_ogg_and_no_webm_is_refused(file: bytes) -> None:
    # Given something else, when it comes, then the error says what is expected
    assert "not Opus in Ogg or WebM" in fails(file, size=3)


def test_a_file_without_opus_is_refused() -> None:
    # Given an Ogg with FLAC, when it comes, then the error says what is expected
    assert "a file without Opus" in fails(recorded("ogg", hum(1), codec="flac"))
    # And if an Ogg ends within its head, that it cannot be read
    assert "cannot be read" in fails(recorded("ogg", hum(1))[:40])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_turns_into_noise_is_refused_with_the_second(kind: str) -> None:
    # Given a recording of two seconds that continues as noise
    file = recorded(kind, hum(2)) + np.random.default_rng(1).bytes(400_000)
    # When it comes, then the error says from where on it cannot be read
    assert "at second 2.0" in fails(file, size=8000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_hostile_bytes_end_in_an_error_or_in_audio(kind: str, seed: int) -> None:
    # Given a recording with random bytes changed, cut out or put in
    random = np.random.default_rng(seed)
    file = bytearray(recorded(kind, hum(1)))
    for offset in random.integers(0, len(file), 20):
        file[offset : offset + int(random.integers(0, 9))] = random.bytes(int(random.integers(0, 9)))
    # When it comes, then that is audio or the named error, and no hang
    assert outcome(bytes(file)) in {"audio", ErrorCode.AUDIO_UNREADABLE}


@pytest.mark.parametrize("kind", KINDS)
def test_audio_that_is_missing_in_the_middle_is_reported(kind: str) -> None:
    # Given a recording of nine seconds, a third of which has not come
    file = recorded(kind, hum(9))
    # When it is decoded, then the decoder says how much is missing, and of a whole recording that nothing is
    assert lost(file[: len(file) // 3] + file[2 * len(file) // 3 :]) == pytest.approx(3, abs=1.2)
    assert lost(file) == 0


def test_a_decoder_that_is_closed_in_the_middle_leaves_no_thread() -> None:
    # Given a recording that is not at its end, with far more audio than one job takes
    file, decoder = recorded("webm", hum(20)), FileDecoder(opus())
    next(iter(decoder.decode(file)))
    # When its stream is closed, then its thread ends, as the fixture sees
    decoder.close()


def test_a_stream_without_a_byte_has_no_audio() -> None:
    # Given a client that has sent nothing, when the stream ends, then that is no error
    assert list(FileDecoder(opus()).end()) == []


class DamagedFile:
    """A file that starts with packets that cannot be decoded."""

    size = 0

    def __init__(self, pipe: Pipe, error: Exception, packets: int) -> None:
        self._pipe = pipe
        self._error = error
        self._packets = packets

    def demux(self, _: object) -> Iterator["DamagedFile"]:
        yield from [self] * self._packets
        while self._pipe.read(1):
            pass

    def decode(self) -> NoReturn:
        raise self._error


@pytest.mark.parametrize(
    ("error", "packets", "is_skipped"),
    [
        (av.error.InvalidDataError(1, ""), 10, True),
        (av.error.InvalidDataError(1, ""), 11, False),
        (av.error.MemoryError(12, ""), 1, False),
    ],
    ids=["ten damaged packets", "eleven", "no memory"],
)
def test_damaged_packets_are_skipped_unless_there_are_many(
    error: Exception, packets: int, is_skipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "open", lambda pipe, *_, **__: nullcontext(DamagedFile(pipe, error, packets)))
    monkeypatch.setattr(live_files, "_checked", lambda *_: SimpleNamespace(time_base=None))
    decoder = FileDecoder(opus())
    with nullcontext() if is_skipped else pytest.raises(PermanentError):
        assert [*decoder.decode(b"OggS"), *decoder.end()] == []


def test_stalled_decoding_is_tried_again(constants: Constants) -> None:
    # Given decoding that has no time left to get on
    constants(MAX_STALL_S=0)
    decoder = FileDecoder(opus())
    # When a good file comes, then the audio is processed again: nothing is wrong with the file
    with pytest.raises(TransientError) as caught:
        list(decoder.decode(recorded("ogg", hum(1))))
    assert caught.value.detail.code is ErrorCode.ENGINE_FAILED
    decoder.close()
