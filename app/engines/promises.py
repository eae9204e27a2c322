"""The duration that a file's header promises, by which a file cut short is recognised."""

from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer

_NO_PROMISE = {"aac", "mpegts", "ogg"}  # their duration is guessed from what is there
_INCREDIBLE_S = 7 * 24 * 3600.0  # live streams write such headers
_ENDLESS_BYTES = 0x7FFF_0000  # the header of a WAV written to a pipe has this size or more
_MICROSECONDS = 1_000_000


def promised_seconds(path: Path, container: InputContainer, stream: AudioStream, found: float) -> float | None:
    """Read the seconds that the header promises; None where they cannot be believed."""
    kind = container.format.name
    if kind == "wav":
        return _by_wav_header(path, found)
    if kind in _NO_PROMISE or (kind == "mp3" and not stream.start_time):  # no start time: no Xing header, a guess
        return None
    promised = _by_header(container, stream)
    return promised if promised is not None and promised < _INCREDIBLE_S else None


def _by_header(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / _MICROSECONDS if container.duration is not None else None


def _by_wav_header(path: Path, found: float) -> float | None:
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:], "little") + len(head)
    return found * promised / path.stat().st_size if head[:4] == b"RIFF" and promised < _ENDLESS_BYTES else None
