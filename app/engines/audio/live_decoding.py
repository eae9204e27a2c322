"""Decode live audio, which arrives in pieces cut at any byte, as raw samples without a header."""

from collections.abc import Iterator, Mapping
from typing import Literal

import av
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveAudio

from app.runtime.errors import PermanentError

_CODECS: Mapping[Codec, Literal["pcm_s16le", "pcm_mulaw", "pcm_alaw"]] = {
    Codec.PCM_S16LE: "pcm_s16le",
    Codec.MULAW: "pcm_mulaw",
    Codec.ALAW: "pcm_alaw",
}
_LAYOUTS = {1: "mono", 2: "stereo"}
_HEAD = 8  # bytes that identify the format of a file
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


class SampleDecoder:
    """Decodes raw samples (16-bit PCM, mu-law or A-law), without a file header."""

    lost = 0.0  # samples have no time stamps

    def __init__(self, audio: LiveAudio, skip: int | None = None) -> None:
        """`skip`: how many bytes to skip at first, if the audio begins in the middle of a live stream.

        None: the audio begins at the start of the stream. In this case, a stream that begins with the header of a file
        format is refused.
        """
        self._codec = av.CodecContext.create(_CODECS[audio.codec], "r")
        self._codec.sample_rate, self._codec.layout = audio.sample_rate, _LAYOUTS[audio.channels]
        self._block = audio.sample_bytes
        self._rest = b""  # bytes of an incomplete block
        self._skip = skip or 0
        self._begun = skip is not None  # whether the first bytes were checked

    def decode(self, data: bytes) -> Iterator[av.AudioFrame]:
        """Add `data`, the next bytes of the stream, and yield the samples that are complete now.

        Raises:
            PermanentError: audio_unreadable: the stream begins as a file, such as a WAV.
        """
        pending = self._rest + data[self._skip :]
        self._skip = max(self._skip - len(data), 0)
        if not self._begun and len(pending) >= _HEAD:
            _refuse_files(pending)
            self._begun = True
        whole = len(pending) // self._block * self._block if self._begun else 0
        self._rest = pending[whole:]
        if whole:
            yield from self._codec.decode(av.Packet(pending[:whole]))

    def end(self) -> Iterator[av.AudioFrame]:
        """End the stream, and yield the samples that `decode` has held back.

        `decode` yields nothing until it has the 8 bytes in which it looks for a file header. So only a stream of less
        than 8 bytes has samples left.
        """
        self._begun = True
        return self.decode(b"")

    def close(self) -> None:
        """Do nothing: this decoder has no thread."""


def unreadable(second: float, what: str) -> PermanentError:
    """Return the error audio_unreadable with the message "The live audio <what> (at second <second>).".

    `second`: the time in the live audio, in seconds from its start.
    """
    return PermanentError(ErrorCode.AUDIO_UNREADABLE, f"The live audio {what} (at second {second:.1f}).")


def _refuse_files(head: bytes) -> None:
    kind = _FILES.get(head[:4]) or _FILES.get(head[4:8])
    if kind is not None:
        what = (
            f"is not what its task says but begins as {kind}: send samples without a header, or Opus in Ogg or WebM"
            " with `codec: opus`"
        )
        raise unreadable(0, what)
