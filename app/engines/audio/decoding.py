"""Decode recordings of many formats into samples of 16 kHz mono, in bounded memory.

Only the file itself is opened: a format that refers to other files or addresses, such as a playlist, is unreadable.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import unpack

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from natscribe.schemas.tasks import FORMATS

from app.engines.audio.limits import Budget, unreadable
from app.engines.audio.mixing import SAMPLE_RATE, Mixer
from app.engines.audio.samples import Samples

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": FORMATS,
    "max_size": str(32 * 1024),  # bytes in a packet of a WAV: an hour has 56,000 packets of the usual size
}
_NO_RECORDING = "is empty, damaged or no sound file"
_SILENT = "holds no sound"
_UNDECODABLE = "holds no sound that can be decoded"
_DAMAGED = "is damaged"
_NO_PROMISE = {"aac", "mpegts", "ogg"}  # formats without a duration in the header: FFmpeg derives it from the data
_INCREDIBLE_S = 7 * 24 * 3600.0  # a header with this duration or more is ignored: live streams write such headers
_ENDLESS_BYTES = 0x7FFF_0000  # a WAV header with this size or more is ignored: it was written to a pipe
_MICROSECONDS_A_SECOND = 1_000_000
_LEAST_MISSING_S = 0.5  # less missing sound is not filled with silence: the time stamps are only inexact
_SILENCE_SAMPLES = 60 * SAMPLE_RATE  # most samples of silence that are yielded at once
COMPARED_S = 10.0  # length of a chunk whose channels are compared
_MOST_BROKEN = 10  # damaged packets after which such a chunk ends

av.logging.set_level(av.logging.PANIC)  # our own errors say what is wrong with a file


def measure(path: Path, budget: Budget) -> tuple[float, int]:
    """Return how many seconds of sound the file really holds, and how many channels, without decoding it.

    Raises:
        PermanentError: audio_unreadable: the file holds no sound, or less than its header promises, or needs too much
            memory; audio_too_large as soon as reading passes its limit.
    """
    with budget.reading(), _opened(path, budget) as (container, stream):
        seconds = _length(container, stream, budget)
        promised = _promised_seconds(path, container, stream, seconds)
        channels = stream.channels
    if seconds <= 0:
        raise unreadable(_SILENT)
    if promised is not None and promised - seconds > max(1.0, 0.02 * promised):
        what = f"ends after {seconds:.0f} of {promised:.0f} s, so a part is missing"
        raise unreadable(what)
    return seconds, channels


def decode(path: Path, budget: Budget, channel: int | None = None) -> Generator[Samples, None, None]:
    """Yield the samples in order, as 16 kHz mono: all channels mixed, or only `channel`, counted from 0.

    Sound that is missing between time stamps becomes silence, so that a position in the samples is the time in the
    recording.

    Raises:
        PermanentError: audio_unreadable; audio_too_large as soon as the length or the decoding passes its limit.
    """
    produced = 0
    with budget.reading(), _opened(path, budget) as (container, stream):
        for samples in _samples(container, stream, budget, Mixer(channel)):
            produced += len(samples)
            budget.limit.check(produced / SAMPLE_RATE)
            with budget.paused():
                yield samples
    if not produced:
        raise unreadable(_UNDECODABLE)


def chunks(path: Path, budget: Budget, channels: int, starts: Iterable[float]) -> Iterator[list[Samples]]:
    """Yield the chunk that begins at each second in `starts`: up to 10 s of each channel, at 16 kHz.

    A chunk may begin a little later than its second. In a format that can only be read from its start, it begins where
    the chunk before has ended.

    Raises:
        PermanentError: audio_unreadable; audio_too_large as soon as reading passes its limit.
    """
    with budget.reading(), _opened(path, budget) as (container, stream):
        for start in starts:
            try:
                container.seek(round(start * _MICROSECONDS_A_SECOND) + (container.start_time or 0))
            except av.FFmpegError as error:
                budget.check_error(error)
            sound = _chunk(container, stream, budget, channels)
            with budget.paused():
                yield sound


def _chunk(container: InputContainer, stream: AudioStream, budget: Budget, channels: int) -> list[Samples]:
    mixers = [Mixer(channel) for channel in range(channels)]
    sound = [np.zeros(0, np.float32) for _ in mixers]
    wanted = round(COMPARED_S * SAMPLE_RATE)
    for frame in _long_frames(container, stream, budget):
        sound = [np.concatenate([before, *mixer.mix(frame)]) for before, mixer in zip(sound, mixers, strict=True)]
        if len(sound[0]) >= wanted:
            break
    return [np.concatenate([before, *mixer.flush()])[:wanted] for before, mixer in zip(sound, mixers, strict=True)]


def _long_frames(container: InputContainer, stream: AudioStream, budget: Budget) -> Iterator[av.AudioFrame]:
    """Yield frames of half a second, joined from short ones, because mixing many short frames takes long.

    Stop where the format changes, and after _MOST_BROKEN damaged packets.
    """
    joined, broken = av.AudioFifo(), 0
    for packet in _packets(container, stream, budget):
        frames = _decoded(packet, budget)
        broken += frames is None
        for frame in frames or ():
            frame.pts = None
            try:
                joined.write(frame)
            except ValueError:  # another format
                broken = _MOST_BROKEN
            yield from joined.read_many(frame.sample_rate // 2)
        if broken >= _MOST_BROKEN:
            break
    if rest := joined.read():
        yield rest


@contextmanager
def _opened(path: Path, budget: Budget) -> Iterator[tuple[InputContainer, AudioStream]]:
    budget.check()
    try:
        container = av.open(
            str(path.absolute()),
            options=_OPTIONS,
            metadata_errors="replace",
            timeout=budget.left,  # ends the work of the library itself, which may go through a whole file here
        )
    except FileNotFoundError:  # not a fault of the recording
        raise
    except (av.FFmpegError, UnicodeError) as error:
        budget.check_error(error)
        raise unreadable(_NO_RECORDING) from error
    with container:
        if not container.streams.audio:
            raise unreadable(_SILENT)
        yield container, container.streams.audio[0]


def _packets(container: InputContainer, stream: AudioStream, budget: Budget) -> Iterator["Packet[AudioStream]"]:
    try:
        for packet in container.demux(stream):
            budget.check()
            yield packet
    except av.FFmpegError as error:
        budget.check_error(error)
        return  # the file ends here: use what was read so far


def _length(container: InputContainer, stream: AudioStream, budget: Budget) -> float:
    start: int | None = None
    end = total = 0
    for packet in _packets(container, stream, budget):
        duration = packet.duration or 0
        total += duration
        if packet.size and packet.pts is not None:
            start = max(packet.pts, 0) if start is None else start
            end = max(end, packet.pts + duration)
    ticks = total if start is None else end - start
    return float(ticks * stream.time_base) if stream.time_base else 0.0


def _samples(container: InputContainer, stream: AudioStream, budget: Budget, mixer: Mixer) -> Iterator[Samples]:
    produced = 0
    origin: float | None = None
    for frame in _frames(container, stream, budget):
        if frame.time is not None:
            origin = frame.time if origin is None else origin
            for silence in _silence(frame.time - origin - produced / SAMPLE_RATE):
                produced += len(silence)
                yield silence
        for samples in mixer.mix(frame):
            produced += len(samples)
            yield samples
    yield from mixer.flush()


def _silence(missing_s: float) -> Iterator[Samples]:
    missing = round(missing_s * SAMPLE_RATE) if missing_s > _LEAST_MISSING_S else 0
    for begin in range(0, missing, _SILENCE_SAMPLES):
        yield np.zeros(min(missing - begin, _SILENCE_SAMPLES), np.float32)


def _frames(container: InputContainer, stream: AudioStream, budget: Budget) -> Iterator[av.AudioFrame]:
    packets = broken = 0
    for packet in _packets(container, stream, budget):
        packets += 1
        frames = _decoded(packet, budget)
        if frames is None:  # a recording with a few damaged packets is accepted
            broken += 1
        else:
            yield from frames
    if broken > max(2, packets // 10):
        raise unreadable(_DAMAGED)


def _decoded(packet: "Packet[AudioStream]", budget: Budget) -> list[av.AudioFrame] | None:
    """Return the frames of a packet; None if the packet is damaged."""
    try:
        return packet.decode()
    except av.FFmpegError as error:
        budget.check_error(error)
        return None


def _promised_seconds(path: Path, container: InputContainer, stream: AudioStream, found: float) -> float | None:
    """Return the duration that the header promises, in seconds; None if there is none, or it is not credible.

    `found`: the seconds of sound that the file really holds.
    """
    kind = container.format.name
    if kind == "wav":
        return _by_wav_header(path, found)
    if kind in _NO_PROMISE:
        return None
    # An MP3 without a start time has no Xing header, and its duration is only a guess.
    if kind == "mp3" and not stream.start_time:
        return None
    promised = _by_header(container, stream)
    return promised if promised is not None and promised < _INCREDIBLE_S else None


def _by_header(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / _MICROSECONDS_A_SECOND if container.duration is not None else None


def _by_wav_header(path: Path, found: float) -> float | None:
    with path.open("rb") as file:
        name, size = unpack("<4sI", file.read(8))
    promised = size + 8
    return found * promised / path.stat().st_size if name == b"RIFF" and promised < _ENDLESS_BYTES else None
