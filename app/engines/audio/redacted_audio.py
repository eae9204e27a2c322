"""Write a copy of a recording in which personal data cannot be heard."""

from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import zip_longest

import av
import numpy as np
import numpy.typing as npt
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import MAX_CHANNELS, Interval

from app.engines.audio.decoding import decode, probe
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.messages import AudioRedacted, RedactAudio, StageAdvanced

BLOCK_SAMPLES = 10 * SAMPLE_RATE  # samples of each channel that are written at once
BEEP_HZ = 1000
BEEP_AMPLITUDE = 0.1  # of full scale, i.e. -20 dB: about as loud as speech
_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # by the number of channels
_FULL_SCALE = 2**15 - 1

Pcm = npt.NDArray[np.int16]


def redact_audio(job: RedactAudio, limit: Limit) -> Iterator[StageAdvanced | AudioRedacted]:
    """Write the recording of a job as FLAC: 16 kHz, 16 bits, and its channels, or their mix if there are more than 8.

    In the spans of the job, all channels are silent or have a tone, because each voice may also be heard in the channel
    of another. Progress is reported every 10 s of audio.

    Raises:
        PermanentError: audio_unreadable, audio_too_large.
    """
    duration, channels = probe(job.path, Budget(limit))
    limit.check(duration)
    kept: list[int | None] = list(range(channels)) if 1 < channels <= MAX_CHANNELS else [None]
    budget, at, spans = Budget(limit, readers=len(kept)), 0, _merged(job.spans)
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(decode(job.path, budget, channel))) for channel in kept]
        output = stack.enter_context(av.open(str(job.output), "w", format="flac"))
        stream = output.add_stream("flac", rate=SAMPLE_RATE, layout=_LAYOUTS[len(kept) - 1], format="s16")
        for block in _blocks(readers):
            _redact(block, at, spans, beep=job.beep)
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout=stream.layout.name)
            frame.sample_rate, frame.pts = SAMPLE_RATE, at
            output.mux(stream.encode(frame))
            at += len(block)
            yield StageAdvanced(stage=Stage.MERGING, processed_seconds=at / SAMPLE_RATE, duration_seconds=duration)
        output.mux(stream.encode(None))
    yield AudioRedacted(duration_seconds=at / SAMPLE_RATE)


def _merged(spans: Iterable[Interval]) -> list[tuple[int, int]]:
    """Return the spans in samples, sorted; those that overlap are one."""
    merged = list[tuple[int, int]]()
    for span in sorted(spans, key=lambda span: span.start):
        start, end = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE) + 1
        if merged and start <= merged[-1][1]:
            start, end = merged[-1][0], max(merged.pop()[1], end)
        merged.append((start, end))
    return merged


def _blocks(readers: list[Generator[Samples, None, None]]) -> Iterator[Pcm]:
    """Yield the samples of all channels, shape (samples, channels); silence where a channel ends before others."""
    cut = [_cut(reader) for reader in readers]
    for parts in zip_longest(*cut, fillvalue=np.zeros(0, np.float32)):
        length = max(len(part) for part in parts)
        padded = [np.pad(part, (0, length - len(part))) for part in parts]
        yield np.round(np.clip(np.column_stack(padded), -1, 1) * _FULL_SCALE).astype(np.int16)


def _cut(chunks: Iterable[Samples]) -> Iterator[Samples]:
    """Yield the same samples in blocks of equal length, of which only the last may be shorter."""
    held, count = list[Samples](), 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk)
        if count >= BLOCK_SAMPLES:
            joined = np.concatenate(held)
            whole = count // BLOCK_SAMPLES * BLOCK_SAMPLES
            yield from np.split(joined[:whole], whole // BLOCK_SAMPLES)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def _redact(block: Pcm, at: int, spans: list[tuple[int, int]], *, beep: bool) -> None:
    """Overwrite the spans in a block that begins with the sample `at` of the recording."""
    first = max(bisect_right(spans, (at, 0)) - 1, 0)
    for start, end in spans[first:]:
        if start >= at + len(block):
            return
        inside = np.arange(max(start, at), min(end, at + len(block)))
        tone = np.sin(inside * (2 * np.pi * BEEP_HZ / SAMPLE_RATE)) * (BEEP_AMPLITUDE * _FULL_SCALE if beep else 0)
        block[inside - at] = tone.astype(np.int16)[:, None]
