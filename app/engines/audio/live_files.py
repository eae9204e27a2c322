"""Decode a live file, i.e. one that is still being written: Opus in Ogg or WebM, in pieces that are cut at any byte.

PyAV reads a file itself, and blocks until it gets more bytes. So each live file has a thread on which PyAV decodes it.
An engine job sends bytes of the file to this thread, and waits until the thread has decoded them and needs more.
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

_FORMATS = {b"OggS": "ogg", b"\x1aE\xdf\xa3": "matroska"}
_MAGIC = 4  # bytes that identify a format
_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": "ogg,matroska,webm"}
_OPUS_HZ = 48_000  # the rate at which Opus is decoded, whatever was recorded
_RATE_IN_HEADER = slice(12, 16)  # of an Opus header: the rate of the recording, 0 if unknown
_MAX_DAMAGED = 10  # damaged packets that are skipped
_MAX_EMPTY_BYTES = 256 * 1024  # of a file without any audio in them
_MEMORY = Limit(0, "AUDIO_MAX_SECONDS")  # for reading, in addition to the bytes themselves: a live file has no index
_MIN_GAP_S = 0.5  # a shorter gap is only an inexact time stamp
_LONGEST_SILENCE_S = 300.0
_SKIPPED_AT_ONCE_S = 1.0
_MERGED_S = 30.0  # the longest merged frame: mixing many short frames takes long


class FileDecoder:
    """Decodes the file of one live stream (Opus in Ogg or WebM that is still being written) on a thread of its own.

    The thread runs until `close` is called, or the file ends.
    """

    def __init__(self, audio: LiveAudio, skip: float = 0.0) -> None:
        """`skip`: the time in seconds before which silence replaces the audio, as decoding it would take too long."""
        self._pipe = Pipe()
        self._audio = audio
        self._skip = skip
        self._head = b""
        self._empty = 0  # bytes since the last audio
        self._samples = 0  # decoded so far
        self._thread: Thread | None = None

    @property
    def lost(self) -> float:
        """How many seconds of audio are missing in the file so far, computed from the gaps between its time stamps."""
        return self._pipe.lost

    def decode(self, data: bytes) -> Iterator[av.AudioFrame]:
        """Add `data`, the next bytes of the file, and yield the frames that can be decoded now.

        Raises:
            PermanentError: audio_unreadable.
            TransientError: engine_failed: the decoding thread makes no progress.
        """
        if self._thread is None:
            self._head += data
            if len(self._head) < _MAGIC:
                return
            data, self._head = self._head, b""
            self._start(data[:_MAGIC])
        self._pipe.write(data)
        self._empty += len(data)
        yield from self._decoded()
        if self._empty > _MAX_EMPTY_BYTES:
            what = "is damaged: the file has no more audio. Record it again, or as samples"
            raise unreadable(self._seconds, what)

    def end(self) -> Iterator[av.AudioFrame]:
        """Signal that no more bytes follow, and yield the remaining frames; raise the same errors as `decode`."""
        if self._thread is None:
            if self._head:
                raise unreadable(0, "is not Opus in Ogg or WebM")
            return
        self._pipe.end()
        yield from self._decoded()

    def close(self) -> None:
        """Make the decoding thread end, without waiting for it."""
        self._pipe.close()

    @property
    def _seconds(self) -> float:
        return self._samples / _OPUS_HZ

    def _start(self, magic: bytes) -> None:
        kind = _FORMATS.get(magic)
        if kind is None:
            what = "is not Opus in Ogg or WebM, as its task says: send such a file from its first byte on"
            raise unreadable(0, what)
        arguments = self._pipe, kind, self._audio, self._skip
        self._thread = Thread(target=_read, args=arguments, name="live file", daemon=True)
        self._thread.start()

    def _decoded(self) -> Iterator[av.AudioFrame]:
        """Yield decoded frames until the decoding thread needs more bytes, or reaches the end of the file."""
        budget = Budget(_MEMORY)
        while frames := self._next(budget):
            self._empty = 0
            for frame in merge_frames(frames, _MERGED_S):
                self._samples += frame.samples
                yield frame

    def _next(self, budget: Budget) -> list[av.AudioFrame]:
        """Wait for the next frames of the decoding thread and return them; [] if it needs more bytes or has ended."""
        try:
            with budget.reading():
                return self._pipe.frames()
        except LIBRARY_ERRORS as error:  # ValueError: the thread has ended before the file
            what = "cannot be read as Opus in Ogg or WebM any longer: record it again, or send samples"
            raise unreadable(self._seconds, what) from error


def _read(pipe: Pipe, kind: str, audio: LiveAudio, skip: float) -> None:
    """Run the decoding thread: decode a file to its end, and send its frames and any error through the pipe."""
    error = None
    try:
        with av.open(pipe, "r", format=kind, options=_OPTIONS, metadata_errors="replace") as container:
            stream = _checked(container, audio)
            _decode(container, stream, _FrameSender(pipe, skip, float(stream.time_base or 0)))
    except Exception as raised:  # noqa: BLE001 -- the job raises it
        error = raised
    pipe.finish(error)


def _decode(container: InputContainer, stream: AudioStream, sender: "_FrameSender") -> None:
    damaged = 0
    for packet in container.demux(stream):
        if sender.skips(packet):
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            damaged += 1
            if damaged > _MAX_DAMAGED or isinstance(error, MemoryError):
                raise
            continue
        for frame in frames:
            sender.send(frame)


class _FrameSender:
    """Sends decoded frames from the decoding thread to the engine job that waits for them.

    Silence replaces lost audio, and the audio before the time `skip` (in seconds), which is not decoded.
    """

    def __init__(self, pipe: Pipe, skip: float, unit: float) -> None:
        """`unit`: seconds in one unit of the time stamps; a float, because exact fractions would be twice as slow."""
        self._pipe = pipe
        self._skip = skip
        self._unit = unit
        self._end = float("inf")  # of the last packet, in seconds
        self._silence = 0.0  # seconds that come before the next frame
        self._last: av.AudioFrame | None = None

    def skips(self, packet: "av.Packet[AudioStream]") -> bool:
        """Return whether a packet need not be decoded, because it ends before `skip` (in seconds).

        As a side effect, add to the silence that is sent later: the length of each skipped packet, and of each gap
        between the time stamps, where audio was lost.
        """
        if not packet.size or packet.pts is None:
            return False
        start, length = packet.pts * self._unit, (packet.duration or 0) * self._unit
        gap = start - self._end if start - self._end > _MIN_GAP_S else 0.0
        self._pipe.lost += gap
        self._silence += min(gap, _LONGEST_SILENCE_S)
        self._end = start + length
        if self._last is None or not length or self._end > self._skip:
            return False
        self._silence += length
        if self._silence >= _SKIPPED_AT_ONCE_S:
            self._send_silence(self._last)
        return True

    def send(self, frame: av.AudioFrame) -> None:
        """Send the silence that precedes a frame, if any, then the frame."""
        if self._silence:
            self._send_silence(frame)
        self._last = frame
        self._pipe.put(frame)

    def _send_silence(self, like: av.AudioFrame) -> None:
        """Send silence in place of lost and skipped audio, so that later audio keeps its times.

        `like`: a frame whose format the silence gets.
        """
        samples = round(self._silence * like.sample_rate)
        frame = av.AudioFrame(format=like.format.name, layout=like.layout.name, samples=samples)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = like.sample_rate
        self._pipe.put(frame)
        self._silence = 0.0


def _checked(container: InputContainer, audio: LiveAudio) -> AudioStream:
    """Return the audio stream of a live file, after checking that it has the format `audio`, which the client stated.

    Raises:
        PermanentError: audio_unreadable: the stream has another codec, sample rate or number of channels.
    """
    stream = next(iter(container.streams.audio), None)
    if stream is None or stream.codec_context.name not in {"opus", "libopus"}:
        raise unreadable(0, "is a file without Opus: record it with this codec, or send samples")
    recorded = int.from_bytes((stream.codec_context.extradata or b"")[_RATE_IN_HEADER], "little")
    if stream.channels != audio.channels or audio.sample_rate not in {_OPUS_HZ, recorded or audio.sample_rate}:
        what = (
            f"has {stream.channels} channels and {recorded or _OPUS_HZ} Hz, and its task says {audio.channels} and "
            f"{audio.sample_rate} Hz: submit a new task that agrees with the file"
        )
        raise unreadable(0, what)
    return stream
