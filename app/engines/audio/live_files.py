"""Decode a file that is still being written: Opus in Ogg or WebM, whose bytes come bit by bit, cut anywhere.

PyAV reads a file by itself, and blocks until more bytes come: so it reads each live file on a thread. A job writes
bytes for the thread, and returns when the thread has decoded them and wants more.
"""

from collections.abc import Iterator
from threading import Thread

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from natscribe.schemas.live import LiveAudio

from app.engines.audio.decoding import LIBRARY_ERRORS
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.live_decoding import unreadable
from app.engines.audio.live_pipe import Pipe
from app.engines.audio.mixing import merge_frames
from app.errors import PermanentError

_FORMATS = {b"OggS": "ogg", b"\x1aE\xdf\xa3": "matroska"}
_MAGIC = 4  # bytes by which a format is known
_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": "ogg,matroska,webm"}
_OPUS_HZ = 48_000  # Opus is decoded with this rate, whatever was recorded
_RATE_IN_HEADER = slice(12, 16)  # of an Opus header: the rate of the recording, 0 if unknown
_MOST_BROKEN = 10  # damaged packets after which a file is given up
_MOST_EMPTY_BYTES = 256 * 1024  # of a file without any sound in them
_MEMORY = Limit(0, "AUDIO_MAX_SECONDS")  # what reading may take beside the bytes: a live file has no index
_LEAST_LOST_S = 0.5  # less missing sound is none: the time stamps are only inexact
_LONGEST_SILENCE_S = 300.0
_SKIPPED_AT_ONCE_S = 1.0
_JOINED_S = 30.0  # most sound in a frame: mixing many short frames takes long


class FileDecoder:
    """Decodes the file of one live stream on a thread, which `close` ends."""

    def __init__(self, audio: LiveAudio, skip: float = 0.0) -> None:
        """`skip`: silence stands in place of the sound before this second.

        Nobody needs that sound, and decoding an hour of it takes long.
        """
        self._pipe = Pipe()
        self._audio = audio
        self._skip = skip
        self._head = b""
        self._empty = 0  # bytes since the last sound
        self._samples = 0  # decoded so far
        self._thread: Thread | None = None

    @property
    def lost(self) -> float:
        """How many seconds of sound the time stamps of the file have skipped so far: lost, or never recorded."""
        return self._pipe.lost

    def decode(self, sound: bytes) -> Iterator[av.AudioFrame]:
        """Yield the frames that can be decoded now that these bytes of the file have come.

        Raises:
            PermanentError: audio_unreadable.
            TransientError: engine_failed: the thread stands still.
        """
        if self._thread is None:
            self._head += sound
            if len(self._head) < _MAGIC:
                return
            sound, self._head = self._head, b""
            self._begin(sound[:_MAGIC])
        self._pipe.write(sound)
        self._empty += len(sound)
        yield from self._decoded()
        if self._empty > _MOST_EMPTY_BYTES:
            what = "is damaged: no more sound is found in the file. Record it anew, or as samples"
            raise unreadable(self._seconds, what)

    def end(self) -> Iterator[av.AudioFrame]:
        """Yield the last frames of the file; raise the errors of `decode`."""
        if self._thread is None:
            if self._head:
                raise unreadable(0, "is not Opus in Ogg or WebM")
            return
        self._pipe.end()
        yield from self._decoded()

    def close(self) -> None:
        """Make the thread end; do not wait for its end."""
        self._pipe.close()

    @property
    def _seconds(self) -> float:
        return self._samples / _OPUS_HZ

    def _begin(self, magic: bytes) -> None:
        kind = _FORMATS.get(magic)
        if kind is None:
            what = "is not Opus in Ogg or WebM, as its task says: send such a file from its first byte on"
            raise unreadable(0, what)
        self._thread = Thread(
            target=_read, args=(self._pipe, kind, self._audio, self._skip), name="live file", daemon=True
        )
        self._thread.start()

    def _decoded(self) -> Iterator[av.AudioFrame]:
        """Yield frames until the thread wants more bytes, or has come to the end of the file."""
        budget = Budget(_MEMORY)
        while frames := self._next(budget):
            for frame in merge_frames(frames, _JOINED_S):
                self._samples += frame.samples
                yield frame

    def _next(self, budget: Budget) -> list[av.AudioFrame]:
        """Return the next frames; [] if there are none."""
        try:
            with budget.reading():
                frames = self._pipe.frames()
        except PermanentError:
            raise
        except LIBRARY_ERRORS as error:  # ValueError: the thread has ended before the file
            what = "cannot be read as Opus in Ogg or WebM any longer: record it anew, or send samples"
            raise unreadable(self._seconds, what) from error
        self._empty = 0 if frames else self._empty
        return frames


def _read(pipe: Pipe, kind: str, audio: LiveAudio, skip: float) -> None:
    """Decode a file to its end, on the thread; give frames, and at last any error, to the job through the pipe."""
    error = None
    try:
        with av.open(pipe, "r", format=kind, options=_OPTIONS, metadata_errors="replace") as container:
            stream = _checked(container, audio)
            _decode(pipe, container, stream, skip)
    except Exception as raised:  # noqa: BLE001 -- the job raises it
        error = raised
    pipe.finish(error)


def _decode(pipe: Pipe, container: InputContainer, stream: AudioStream, skip: float) -> None:
    broken, sound = 0, _Sound(pipe, skip, float(stream.time_base or 0))
    for packet in container.demux(stream):
        if sound.skips(packet):
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            broken += 1
            if broken > _MOST_BROKEN or isinstance(error, MemoryError):
                raise
            continue
        for frame in frames:
            sound.put(frame)


class _Sound:
    """Gives frames from the thread to the job, with silence for lost sound and for sound before the second `skip`."""

    def __init__(self, pipe: Pipe, skip: float, unit: float) -> None:
        """`unit`: seconds in one unit of the time stamps; a float, because fractions would take twice the time."""
        self._pipe = pipe
        self._skip = skip
        self._unit = unit
        self._end = float("inf")  # of the last packet, in seconds
        self._silence = 0.0  # seconds that come before the next frame
        self._last: av.AudioFrame | None = None

    def skips(self, packet: "av.Packet[AudioStream]") -> bool:
        """Note when a packet starts and ends; return whether it is skipped, with silence in its place."""
        if not packet.size or packet.pts is None:
            return False
        start, length = packet.pts * self._unit, (packet.duration or 0) * self._unit
        gap = start - self._end if start - self._end > _LEAST_LOST_S else 0.0
        self._pipe.lost += gap
        self._silence += min(gap, _LONGEST_SILENCE_S)
        self._end = start + length
        if self._last is None or not length or self._end > self._skip:
            return False
        self._silence += length
        if self._silence >= _SKIPPED_AT_ONCE_S:
            self._give_silence(self._last)
        return True

    def put(self, frame: av.AudioFrame) -> None:
        """Give the job the silence that belongs before a frame, then the frame."""
        if self._silence:
            self._give_silence(frame)
        self._last = frame
        self._pipe.put(frame)

    def _give_silence(self, like: av.AudioFrame) -> None:
        self._pipe.put(_silence(like, self._silence))
        self._silence = 0.0


def _silence(like: av.AudioFrame, seconds: float) -> av.AudioFrame:
    """Return a frame of silence, `seconds` long, in the format of the frame `like`.

    It stands in place of lost or skipped sound, so that the times of later sound are right.
    """
    samples = round(seconds * like.sample_rate)
    frame = av.AudioFrame(format=like.format.name, layout=like.layout.name, samples=samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = like.sample_rate
    return frame


def _checked(container: InputContainer, audio: LiveAudio) -> AudioStream:
    """Return the audio stream of a file.

    Raises:
        PermanentError: audio_unreadable: it has another codec, rate or number of channels than its task says.
    """
    stream = next((each for each in container.streams.audio), None)
    if stream is None or stream.codec_context.name not in {"opus", "libopus"}:
        raise unreadable(0, "is a file without Opus: record it with this codec, or send samples")
    recorded = int.from_bytes((stream.codec_context.extradata or b"")[_RATE_IN_HEADER], "little")
    if stream.channels != audio.channels or audio.sample_rate not in {_OPUS_HZ, recorded or audio.sample_rate}:
        what = (
            f"has {stream.channels} channels and {recorded or _OPUS_HZ} Hz, and its task says {audio.channels} and "
            f"{audio.sample_rate} Hz: publish a new task that agrees with the file"
        )
        raise unreadable(0, what)
    return stream
