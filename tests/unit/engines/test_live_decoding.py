"""Decoding of live audio whose bytes are cut anywhere."""

from collections.abc import Iterator

import av
import numpy as np
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveAudio

from app.engines.audio.live_decoding import SampleDecoder
from app.runtime.errors import PermanentError

BITS = [1, 2, 3, 7, 640, 100_000]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def decoded(audio: LiveAudio, bits: Iterator[bytes]) -> bytes:
    """The samples of all frames, 16 bits each."""
    decoder = SampleDecoder(audio)
    frames = [frame for bit in bits for frame in decoder.decode(bit)] + list(decoder.end())
    assert {(frame.sample_rate, frame.layout.nb_channels) for frame in frames} == {(audio.sample_rate, audio.channels)}
    return b"".join(frame.to_ndarray().tobytes() for frame in frames)


@pytest.mark.parametrize("size", BITS)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 1), (44_100, 2), (48_000, 2)])
def test_samples_are_what_was_sent_wherever_it_is_cut(size: int, rate: int, channels: int) -> None:
    # Given samples of one or two channels
    data = np.random.default_rng(1).integers(-9000, 9000, 800 * channels, "<i2").tobytes()
    # When they come in pieces of any size, then they are decoded in order and none is lost
    assert decoded(LiveAudio(sample_rate=rate, channels=channels), cut(data, size)) == data


@pytest.mark.parametrize("size", BITS)
@pytest.mark.parametrize(("codec", "encoder"), [(Codec.MULAW, "pcm_mulaw"), (Codec.ALAW, "pcm_alaw")])
def test_telephone_audio_is_decoded(codec: Codec, encoder: str, size: int) -> None:
    # Given a voice as a telephone sends it
    sent = (np.sin(np.arange(1600) / 9) * 20_000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(sent[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = 8000
    telephone = av.CodecContext.create(encoder, "w")
    assert isinstance(telephone, av.AudioCodecContext)
    telephone.sample_rate, telephone.layout, telephone.format = 8000, "mono", "s16"
    data = b"".join(bytes(packet) for packet in [*telephone.encode(frame), *telephone.encode(None)])
    # When it is decoded
    received = np.frombuffer(decoded(LiveAudio(codec=codec, sample_rate=8000), cut(data, size)), np.int16)
    # Then the samples are equal, but for the codec's noise
    assert np.abs(received.astype(int) - sent).max() < 1000


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"RIFF\0\0\0\0WAVEfmt ", "WAV"), (b"OggS\0\2", "Ogg"), (b"\x1aE\xdf\xa3", "WebM"), (b"\0\0\0\x20ftyp", "MP4")],
)
def test_a_file_instead_of_samples_is_named_in_the_error(head: bytes, kind: str, size: int) -> None:
    # Given a task that promises samples, when a file comes, then the error says so
    with pytest.raises(PermanentError, match=f"begins as an? {kind} file") as caught:
        decoded(LiveAudio(), cut(head + bytes(100), size))
    assert caught.value.detail.code is ErrorCode.AUDIO_UNREADABLE


def test_a_stream_may_be_shorter_than_any_header() -> None:
    # Given a stream of three samples, and a byte too many, when it ends, then it is the three samples
    assert decoded(LiveAudio(), cut(b"abcdefg", 2)) == b"abcdef"


def test_samples_are_decoded_as_soon_as_they_can_be_no_header() -> None:
    decoder = SampleDecoder(LiveAudio())
    assert [len(list(decoder.decode(data))) for data in (b"abcdefg", b"h")] == [0, 1]
