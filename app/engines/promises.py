"""What a file's header promises, so that a file cut short is told from a whole one."""

from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer

_NO_PROMISE = {"aac", "mpegts", "ogg"}  # their duration is guessed from what is there
_INCREDIBLE = 7 * 24 * 3600.0  # seconds; live streams write such headers
_ENDLESS = 0x7FFF_0000  # bytes; a WAV written to a pipe says this or more
_MICROSECONDS = 1_000_000


def promised_seconds(path: Path, container: InputContainer, stream: AudioStream, found: float) -> float | None:
    """Seconds that the header promises; null where it makes no promise that can be believed."""
    kind = container.format.name
    if kind == "wav":
        return _by_wav_header(path, found)
    if kind in _NO_PROMISE or (kind == "mp3" and not stream.start_time):  # no start time: no Xing header, a guess
        return None
    promised = _by_header(container, stream)
    return promised if promised is not None and promised < _INCREDIBLE else None


def _by_header(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / _MICROSECONDS if container.duration is not None else None


def _by_wav_header(path: Path, found: float) -> float | None:
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:], "little") + len(head)
    return found * promised / path.stat().st_size if head[:4] == b"RIFF" and promised < _ENDLESS else None
