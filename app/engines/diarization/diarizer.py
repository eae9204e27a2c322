"""Diarize a recording in the engine process: analyse its chunks during decoding, then find its speakers and turns."""

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from math import inf
from time import monotonic

from natscribe.schemas.progress import Stage

from app.engines.audio.crosstalk import CHANNELS, Crosstalk
from app.engines.audio.decoding import decode, probe
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.analysis import analyse_chunk
from app.engines.diarization.assignment import assign_speakers
from app.engines.diarization.chunk_analysis import ChunkAnalysis, pack, unpack
from app.engines.diarization.networks import Networks
from app.engines.diarization.speaker_embeddings import speaker_embeddings
from app.engines.diarization.speakers import SpeakerBounds, collect_embeddings, smoothed, speaker_centroids
from app.engines.diarization.turns import turns
from app.engines.diarization.windows import chunks
from app.engines.messages import ChunkAnalysed, DiarizationDone, Diarize, RecordingEmbeddings, StageAdvanced

_PROGRESS_EVERY_S = 1.0

Emit = Callable[[StageAdvanced | ChunkAnalysed], None]


def diarize(networks: Networks, job: Diarize, limit: Limit, emit: Emit) -> DiarizationDone:
    """Diarize a recording: return its turns, and the embeddings of its speakers if `job` requests them.

    `emit` is called with the analysis of each chunk that is not in `job.known`, and with the progress at most once per
    second. `limit`: the limits of the recording's length and of the CPU time for reading it. The process needs memory
    for 70 s of audio, 13 MB per hour of the recording, and up to 70 MB to compare embeddings.

    Raises:
        PermanentError: audio_unreadable, audio_too_large.
    """
    budget = Budget(limit, readers=1 if job.channel is None else CHANNELS)
    measured, channels = probe(job.path, budget)
    limit.check(measured)
    emit(StageAdvanced(stage=Stage.DECODING, processed_seconds=0.0, duration_seconds=measured))
    progress = _progress(measured, emit)
    revision = networks.identity.revision
    known = _known_chunks(job, revision)
    analyses: list[ChunkAnalysis] = []
    duration = 0.0
    for audio in chunks(_audio(job, channels, budget)):
        analysis = known.get(audio.index)
        if analysis is None or len(analysis.activity) != audio.windows:
            analysis = analyse_chunk(networks, audio, progress)
            emit(ChunkAnalysed(index=audio.index, revision=revision, record=pack(analysis)))
        analyses.append(analysis)
        duration = (audio.first_sample + len(audio.samples)) / SAMPLE_RATE
    embeddings = collect_embeddings(analyses)
    bounds = SpeakerBounds(job.min_speakers, job.max_speakers, of_channel=job.channel is not None)
    centroids = speaker_centroids(smoothed(embeddings), analyses, bounds)
    speaker_turns = turns(analyses, assign_speakers(analyses, embeddings, centroids), duration)
    embedded = None
    if job.embed:
        with closing(_audio(job, channels, Budget(limit, readers=budget.readers))) as recording:
            speakers = speaker_embeddings(networks, embeddings, speaker_turns, recording)
        embedded = RecordingEmbeddings(model=VOICE_NETWORK.model, speakers=speakers)
    return DiarizationDone(turns=speaker_turns, duration_seconds=duration, model=networks.identity, embedded=embedded)


def _audio(job: Diarize, channels: int, budget: Budget) -> Generator[Samples, None, None]:
    """Return the samples of a recording, or of the channel of the job; of two channels, without crosstalk.

    `channels`: how many the recording has. `budget`: for both readers, if there are two channels to compare.
    """
    audio = decode(job.path, budget, job.channel)
    if job.channel is None or channels != CHANNELS:
        return audio
    return Crosstalk(0).mute(audio, decode(job.path, budget, 1 - job.channel))


def _known_chunks(job: Diarize, revision: str) -> dict[int, ChunkAnalysis]:
    """Parse the chunks in `job.known` that were analysed with this `revision` of the networks; return them by index.

    Chunks that cannot be parsed are left out, and so analysed again.
    """
    known = {}
    for record in job.known:
        with suppress(ValueError):
            if record.revision == revision:
                known[record.index] = unpack(record.index, record.record)
    return known


def _progress(duration: float, emit: Emit) -> Callable[[float], None]:
    """Report through `emit` that diarization starts, and return a function that reports its progress.

    The function gets how many seconds of the recording are processed, and reports at most once per second. `duration`:
    the duration of the recording in seconds.
    """
    reported_at = -inf

    def report(seconds: float) -> None:
        nonlocal reported_at
        if monotonic() - reported_at >= _PROGRESS_EVERY_S:
            reported_at = monotonic()
            processed = min(seconds, duration)
            emit(StageAdvanced(stage=Stage.DIARIZING, processed_seconds=processed, duration_seconds=duration))

    report(0.0)
    return report
