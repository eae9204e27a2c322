"""Decode recordings of many formats into samples of 16 kHz mono, in bounded memory.

Only the file itself is opened: a format that refers to other files or addresses, such as a playlist, is unreadable.

In files that were joined end to end, the channel layout, the sample rate and the time stamps may change. Joined Ogg
files are one chained Ogg file, and each of them is a link of it. FFmpeg's demuxer stops at a link with other parameters
than the link before; so the file is opened again there.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from struct import unpack

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from natscribe.schemas.task_fields import FORMATS

from app.engines.audio.limits import Budget, unreadable
from app.engines.audio.mixing import SAMPLE_RATE, Mixer, merge_frames
from app.engines.audio.samples import Samples

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": FORMATS,
    "max_size": str(32 * 1024),  # bytes in a packet of a WAV: an hour has 56,000 packets of the usual size
}
_NO_RECORDING = "is empty, damaged or not an audio file"
_SILENT = "contains no audio"
_UNDECODABLE = "contains no audio that can be decoded"
_DAMAGED = "is damaged"
_NO_HEADER_DURATION = {"aac", "mpegts", "ogg"}  # FFmpeg derives the duration from the data
_MAX_HEADER_S = 7 * 24 * 3600.0  # a longer duration in a header is ignored: live streams write such headers
_UNKNOWN_BYTES = 0x7FFF_0000  # a WAV header with this size or more is ignored: it was written to a pipe
_MIN_GAP_S = 0.5  # a shorter gap is not filled with silence: the time stamps are only inexact
_SILENCE_SAMPLES = 60 * SAMPLE_RATE  # silence that is yielded at once
_MERGED_S = 0.5  # short frames are merged to this length, because mixing many short frames takes long
COMPARED_S = 10.0  # length of a chunk whose channels are compared
_MAX_DAMAGED = 10  # damaged packets after which such a chunk ends
_FIRST_OGG_PAGE = b"OggS\0\2"  # how a link of a chained Ogg file begins
_NEXT_LINK_BYTES = 1024**2  # a link begins at most this far after the last packet of the link before
_MAX_ERRORS = 100  # of the demuxer, each of which may skip 64 KiB of damage
_CERTAIN_S = 1.0  # time stamps that stay behind for longer than this have restarted
_WRAPPED = 2**31  # FFmpeg's demuxer of Ogg writes a negative duration without its sign
_UNTIMED = "aac"  # raw AAC has no time stamps: after a change of the sample rate, those that FFmpeg makes are wrong

# What PyAV raises on damaged files: streams without a codec have no attributes, for example.
LIBRARY_ERRORS = (av.FFmpegError, ValueError, ArithmeticError, AttributeError, LookupError, RuntimeError)

av.logging.set_level(av.logging.PANIC)  # our own errors say what is wrong with a file


def probe(path: Path, budget: Budget) -> tuple[float, int]:
    """Return how many seconds of audio a file really holds, and its number of channels, without decoding it.

    If the number of channels changes within the file, the number at its start is returned.

    Raises:
        PermanentError: audio_unreadable: the file contains no audio, contains less than its header states, or needs too
            much memory; audio_too_large as soon as reading exceeds its limit of CPU time.
    """
    seconds, channels, promised = 0.0, 0, None
    with _reading(budget):
        for opened in _opened_at_links(path, budget):
            channels = channels or opened.stream.channels
            seconds += _length(opened)
            promised = _promised_seconds(opened, seconds)
    if seconds <= 0:
        raise unreadable(_SILENT)
    if promised is not None and promised - seconds > max(1.0, 0.02 * promised):
        what = f"ends after {seconds:.0f} of {promised:.0f} s, so a part is missing"
        raise unreadable(what)
    return seconds, channels


def decode(path: Path, budget: Budget, channel: int | None = None) -> Generator[Samples, None, None]:
    """Yield the samples of a recording in order, at 16 kHz: its channels mixed, or only `channel`, counted from 0.

    A gap in the time stamps is filled with silence, so that the index of a sample corresponds to its time in the
    recording. Where the recording has another number of channels than at its start, channel 0 consists of the mix, and
    any other channel of silence.

    Raises:
        PermanentError: audio_unreadable; audio_too_large as soon as the length or the CPU time exceeds its limit.
    """
    produced, mixer = 0, None
    with _reading(budget):
        for opened in _opened_at_links(path, budget):
            mixer = mixer or Mixer(channel, opened.stream.channels)
            for samples in _samples(opened, mixer):
                produced += len(samples)
                budget.limit.check(produced / SAMPLE_RATE)
                with budget.paused():
                    yield samples
    if not produced:
        raise unreadable(_UNDECODABLE)


def chunks_at(path: Path, budget: Budget, channels: int, starts: Iterable[float]) -> Iterator[list[Samples]]:
    """Yield an excerpt for each of the times `starts` (in seconds): up to 10 s of every channel from there, at 16 kHz.

    `channels`: the number of channels. An excerpt may begin a little later than requested. In a format that can only be
    read sequentially, it begins where the previous excerpt ended. In a chained Ogg file, i.e. several files joined, no
    excerpt comes from a file with other parameters than the first, such as another sample rate, or from a later file.

    Raises:
        PermanentError: audio_unreadable; audio_too_large as soon as reading exceeds its limit of CPU time.
    """
    with _reading(budget), closing(_opened_at_links(path, budget)) as links:
        opened = next(links)
        for start in starts:
            try:
                opened.container.seek(round(start * av.time_base) + (opened.container.start_time or 0))
            except av.FFmpegError as error:
                budget.check_error(error)
            chunk = _chunk(opened, channels)
            with budget.paused():
                yield chunk


@dataclass
class _OpenedFile:
    """A file opened with PyAV, which is read from its start or from the start of a later link.

    Links are the files that are joined in a chained Ogg file. `offset`: the byte at which the last packet begins.
    `next`: the byte at which the next link begins, or -1 if there is none; `packets` sets it at its end. `errors`: how
    often the demuxer has failed.
    """

    path: Path
    container: InputContainer
    stream: AudioStream
    budget: Budget
    offset: int
    next: int = -1
    errors: int = 0

    def packets(self) -> Iterator["Packet[AudioStream]"]:
        """Yield the packets of the opened file; read on after errors of the demuxer if it can continue.

        In a chained Ogg file, i.e. several files joined, stop where a file begins whose parameters differ from those
        before.

        Raises:
            PermanentError: audio_unreadable: the rest of the file cannot be read; audio_too_large: the CPU time is used
                up.
        """
        is_stuck = False
        while not is_stuck:
            try:
                for packet in self.container.demux(self.stream):
                    self.budget.check()
                    self.offset = max(self.offset, packet.pos or 0)
                    yield packet
                break
            except IndexError:  # PyAV raises it after the last packet if FFmpeg has found another stream meanwhile
                break
            except av.FFmpegError as error:
                self.budget.check_error(error)
                self.errors += 1
                is_stuck = self.errors > _MAX_ERRORS or isinstance(error, av.error.PatchWelcomeError)
        if self.container.format.name == "ogg":
            self.next = self._next_link()
        if is_stuck and self.next < 0:
            raise unreadable(_DAMAGED)

    def frames(self, max_damaged: int | None = None) -> Iterator[av.AudioFrame]:
        """Yield the decoded frames, skipping damaged packets.

        `max_damaged`: end without an error after this many damaged packets; None: read to the end.

        Raises:
            PermanentError: audio_unreadable: the rest of the file cannot be read, or, if `max_damaged` is None, more
                than two packets and more than a tenth of all are damaged (an error of the demuxer counts as one);
                audio_too_large: the CPU time is used up.
        """
        packets = damaged = 0
        for packet in self.packets():
            packets += 1
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                self.budget.check_error(error)
                damaged += 1
                if damaged == max_damaged:
                    return
        if max_damaged is None and damaged + self.errors > max(2, packets // 10):
            raise unreadable(_DAMAGED)

    def _next_link(self) -> int:
        with self.path.open("rb") as file:
            file.seek(self.offset + 1)
            distance = file.read(_NEXT_LINK_BYTES).find(_FIRST_OGG_PAGE)
        return distance if distance < 0 else self.offset + 1 + distance


def _opened_at_links(path: Path, budget: Budget) -> Generator[_OpenedFile]:
    """Open a file with PyAV and yield it, several times for some chained Ogg files, i.e. several files joined.

    FFmpeg stops before a joined file whose parameters differ from those of the file before. So the chained file is
    opened again there, and yielded again.
    """
    start = 0
    while start >= 0:
        budget.check()
        with av.open(
            str(path.absolute()),
            options=_OPTIONS | {"skip_initial_bytes": str(start)},
            metadata_errors="replace",
            timeout=budget.left,  # for the library itself, which may read a whole file here
        ) as container:
            if not container.streams.audio:
                raise unreadable(_SILENT)
            opened = _OpenedFile(path, container, container.streams.audio[0], budget, start)
            yield opened
        start = opened.next


@contextmanager
def _reading(budget: Budget) -> Iterator[None]:
    """Count the CPU time of the `with` block, limit its memory, and convert PyAV's errors into `PermanentError`.

    Raises:
        PermanentError: audio_unreadable, audio_too_large.
    """
    with budget.reading():
        try:
            yield
        except FileNotFoundError:  # not a fault of the recording
            raise
        except LIBRARY_ERRORS as error:
            budget.check_error(error)
            raise unreadable(_NO_RECORDING) from error


def _chunk(opened: _OpenedFile, channels: int) -> list[Samples]:
    mixers = [Mixer(channel, channels) for channel in range(channels)]
    chunk = [np.zeros(0, np.float32) for _ in mixers]
    length = round(COMPARED_S * SAMPLE_RATE)
    for frame in merge_frames(opened.frames(_MAX_DAMAGED), _MERGED_S):
        chunk = [np.concatenate([before, *mixer.mix(frame)]) for before, mixer in zip(chunk, mixers, strict=True)]
        if len(chunk[0]) >= length:
            break
    return [np.concatenate([before, *mixer.flush()])[:length] for before, mixer in zip(chunk, mixers, strict=True)]


@dataclass
class _PositionTracker:
    """Converts time stamps to positions, i.e. times from the start of the recording.

    Where files were joined, the time stamps may start again. A time stamp that is more than `certain` behind the end of
    the audio so far may be the first after such a restart, or damaged. It was a restart if the following time stamps
    stay behind for longer than `certain`; then the positions continue from `end`.

    Everything is in the unit of the time stamps. `origin`: the time stamp at position 0. `end`: the position at which
    all packets or frames so far have ended. `restart`: the first time stamp that may be after a restart; None: there is
    none.
    """

    origin: float
    certain: float
    end: float = 0
    restart: float | None = None

    def add(self, time: float, length: float) -> float:
        """Add the next packet or frame, given its time stamp and its length; return the position where it starts."""
        if time - self.origin >= self.end - self.certain:
            self.restart = None
        elif self.restart is None:
            self.restart = time
        elif time - self.restart > self.certain:
            self.origin, self.restart = self.restart - self.end, None
        self.end = max(self.end, time - self.origin + length)
        return time - self.origin


def _length(opened: _OpenedFile) -> float:
    total, tick = 0, opened.stream.time_base or Fraction(0)
    positions: _PositionTracker | None = None
    for packet in opened.packets():
        duration = packet.duration if packet.duration and packet.duration < _WRAPPED else 0
        total += duration
        if packet.size and packet.pts is not None:
            positions = positions or _PositionTracker(max(packet.pts, 0), int(_CERTAIN_S / tick))
            positions.add(packet.pts, duration)
    return float((positions.end if positions else total) * tick)


def _samples(opened: _OpenedFile, mixer: Mixer) -> Iterator[Samples]:
    produced = rate = 0
    positions: _PositionTracker | None = None
    for frame in opened.frames():
        rate, gap_s = rate or frame.sample_rate, 0.0
        if frame.time is not None and (opened.container.format.name != _UNTIMED or frame.sample_rate == rate):
            positions = positions or _PositionTracker(frame.time, _CERTAIN_S)
            gap_s = positions.add(frame.time, frame.samples / frame.sample_rate) - produced / SAMPLE_RATE
        for samples in chain(_silence(gap_s), mixer.mix(frame)):
            produced += len(samples)
            yield samples
    yield from mixer.flush()


def _silence(gap_s: float) -> Iterator[Samples]:
    samples = round(gap_s * SAMPLE_RATE) if gap_s > _MIN_GAP_S else 0
    for start in range(0, samples, _SILENCE_SAMPLES):
        yield np.zeros(min(samples - start, _SILENCE_SAMPLES), np.float32)


def _promised_seconds(opened: _OpenedFile, actual: float) -> float | None:
    """Return the duration in seconds that a file's header states; None if it states none, or none that can be trusted.

    `actual`: how many seconds of audio the file really holds.
    """
    kind = opened.container.format.name
    if kind == "wav":
        return _by_wav_header(opened.path, actual)
    promised = _by_header(opened)
    if promised is None or promised >= _MAX_HEADER_S or kind in _NO_HEADER_DURATION:
        return None
    return None if kind == "mp3" and _is_guess(opened, promised) else promised


def _is_guess(opened: _OpenedFile, seconds: float) -> bool:
    """Return whether `seconds`, an MP3 file's duration, is FFmpeg's guess from the file size and the first bit rate.

    FFmpeg guesses if the header with the duration is missing, or belongs only to the first of several joined files.
    """
    guess = 8 * opened.path.stat().st_size / (opened.stream.codec_context.bit_rate or 1)
    return not opened.stream.start_time or abs(seconds - guess) < 0.02 * guess


def _by_header(opened: _OpenedFile) -> float | None:
    if opened.stream.duration is not None and opened.stream.time_base is not None:
        return float(opened.stream.duration * opened.stream.time_base)
    return opened.container.duration / av.time_base if opened.container.duration is not None else None


def _by_wav_header(path: Path, actual: float) -> float | None:
    with path.open("rb") as file:
        name, size = unpack("<4sI", file.read(8))
    promised = size + 8
    return actual * promised / path.stat().st_size if name == b"RIFF" and promised < _UNKNOWN_BYTES else None
