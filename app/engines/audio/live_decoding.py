"""Decode live sound: samples whose bytes come bit by bit, cut anywhere."""

from collections.abc import Iterator
from typing import Protocol

import av
from av.audio.codeccontext import AudioCodecContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveAudio

from app.errors import PermanentError

_CODECS = {Codec.PCM_S16LE: "pcm_s16le", Codec.MULAW: "pcm_mulaw", Codec.ALAW: "pcm_alaw"}
_LAYOUTS = {1: "mono", 2: "stereo"}
_HEAD = 8  # bytes by which a file is known
_FILES = {
    b"RIFF": "a WAV file",
    b"OggS": "an Ogg file",
    b"\x1aE\xdf\xa3": "a WebM file",
    b"fLaC": "a FLAC file",
    b"ID3\x03": "an MP3 file",
    b"ID3\x04": "an MP3 file",
    b"FORM": "an AIFF file",
    b".snd": "an AU file",
    b"caff": "a CAF file",
    b"ftyp": "an MP4 file",
}


class LiveDecoder(Protocol):
    """Decodes the sound of one live stream, whose bytes come bit by bit."""

    @property
    def lost(self) -> float:
        """How many seconds of sound are missing so far, if the format has time stamps that show it; else 0."""
        ...

    def decode(self, sound: bytes) -> Iterator[av.AudioFrame]:
        """Yield the frames that can be decoded now that these bytes have come.

        Raises:
            PermanentError: audio_unreadable.
        """
        ...

    def end(self) -> Iterator[av.AudioFrame]:
        """Yield the frames that are left, because no more bytes follow.

        Raises:
            PermanentError: audio_unreadable.
        """
        ...

    def close(self) -> None:
        """End what runs for the decoder, such as a thread."""
        ...


class SampleDecoder:
    """Decodes sound that consists of samples alone, without a header."""

    lost = 0.0  # nothing tells

    def __init__(self, audio: LiveAudio, skip: int | None = None) -> None:
        """`skip`: how many of the first bytes to skip, because the sound begins in the middle of a stream.

        None: the sound begins at the start of a stream, where a file, which has a header, is refused.
        """
        name = _CODECS[audio.codec]
        codec = av.CodecContext.create(name, "r")
        if not isinstance(codec, AudioCodecContext):
            raise TypeError(name)
        codec.sample_rate, codec.layout = audio.sample_rate, _LAYOUTS[audio.channels]
        self._codec = codec
        self._block = audio.sample_bytes
        self._rest = b""  # bytes that are no whole block yet
        self._skip = skip or 0
        self._begun = skip is not None  # whether the first bytes were looked at

    def decode(self, sound: bytes) -> Iterator[av.AudioFrame]:
        """Yield the samples that are complete now that these bytes have come.

        Raises:
            PermanentError: audio_unreadable: the stream begins as a file, such as a WAV.
        """
        held = self._rest + sound[self._skip :]
        self._skip = max(self._skip - len(sound), 0)
        if not self._begun and len(held) >= _HEAD:
            _refuse_files(held)
            self._begun = True
        whole = len(held) // self._block * self._block if self._begun else 0
        self._rest = held[whole:]
        if whole:
            yield from self._codec.decode(av.Packet(held[:whole]))

    def end(self) -> Iterator[av.AudioFrame]:
        """Yield the samples that were held back: all, if the whole stream has fewer than eight bytes; else none."""
        self._begun = True
        return self.decode(b"")

    def close(self) -> None:
        """Do nothing: no thread runs for this decoder."""


def unreadable(second: float, what: str) -> PermanentError:
    """Make the error audio_unreadable with the message "The live sound <what> (at second <second>)."."""
    return PermanentError(ErrorCode.AUDIO_UNREADABLE, f"The live sound {what} (at second {second:.1f}).")


def _refuse_files(head: bytes) -> None:
    kind = _FILES.get(head[:4]) or _FILES.get(head[4:8])
    if kind is not None:
        what = (
            f"is not what its task says but begins as {kind}: send samples without a header, or Opus in Ogg or WebM"
            " with `codec: opus`"
        )
        raise unreadable(0, what)
