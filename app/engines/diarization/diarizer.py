"""Find who speaks when in a recording: analyse one chunk after the other while the recording is decoded."""

from collections.abc import Callable
from contextlib import closing, suppress
from time import monotonic

from natscribe.schemas.progress import Stage

from app.engines.audio.decoding import decode, probe
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization.analysis import analyse
from app.engines.diarization.chunk import Chunk, pack, unpack
from app.engines.diarization.identity import embedding_network
from app.engines.diarization.networks import Networks
from app.engines.diarization.owners import owners
from app.engines.diarization.speaker_voices import speaker_embeddings
from app.engines.diarization.speakers import Bounds, centres, embeddings_of
from app.engines.diarization.turns import turns
from app.engines.diarization.windows import APART, PER_CHUNK, chunks
from app.engines.messages import ChunkAnalysed, DiarizationDone, Diarize, Embedded, StageAdvanced

_PROGRESS_EVERY_S = 1.0

Emit = Callable[[StageAdvanced | ChunkAnalysed], None]


def diarize(networks: Networks, job: Diarize, limit: Limit, emit: Emit) -> DiarizationDone:
    """Find the turns of a recording; emit each chunk that is analysed now, and progress at most once a second.

    In memory are at most 70 s of sound, 13 MB for each hour of the recording, and up to 70 MB to compare embeddings.

    Raises:
        PermanentError: audio_unreadable, audio_too_large.
    """
    budget = Budget(limit)
    measured, _ = probe(job.path, budget)
    limit.check(measured)
    emit(StageAdvanced(stage=Stage.DECODING, processed_seconds=0.0, duration_seconds=measured))
    progress = _progress(measured, emit)
    known = _known(job, networks.identity.revision)
    analysed: list[Chunk] = []
    duration = 0.0
    for sound in chunks(decode(job.path, budget, job.channel)):
        chunk = known.get(sound.index)
        if chunk is None or len(chunk.activity) != sound.windows:
            chunk = analyse(networks, sound, progress)
            emit(ChunkAnalysed(index=sound.index, revision=networks.identity.revision, record=pack(chunk)))
        analysed.append(chunk)
        duration = (sound.index * PER_CHUNK * APART + len(sound.samples)) / SAMPLE_RATE
    embeddings = embeddings_of(analysed)
    speakers = centres(embeddings, analysed, Bounds(job.min_speakers, job.max_speakers))
    found = turns(analysed, owners(analysed, embeddings, speakers), duration)
    embedded = None
    if job.embed:
        with closing(decode(job.path, Budget(limit), job.channel)) as again:
            of_speakers = speaker_embeddings(networks, embeddings, found, again)
        embedded = Embedded(model=embedding_network(), speakers=of_speakers)
    return DiarizationDone(turns=found, duration_seconds=duration, model=networks.identity, embedded=embedded)


def _known(job: Diarize, revision: str) -> dict[int, Chunk]:
    """Return the known chunks by index: only those that can be read and that networks of this `revision` analysed."""
    known = {}
    for each in job.known:
        with suppress(ValueError):
            if each.revision == revision:
                known[each.index] = unpack(each.index, each.record)
    return known


def _progress(duration: float, emit: Emit) -> Callable[[float], None]:
    """Build a function that is called with the seconds analysed so far, and emits them at most once a second."""
    reported_at = monotonic()

    def report(seconds: float) -> None:
        processed = min(seconds, duration)
        emit(StageAdvanced(stage=Stage.DIARIZING, processed_seconds=processed, duration_seconds=duration))

    def advance(seconds: float) -> None:
        nonlocal reported_at
        if monotonic() - reported_at >= _PROGRESS_EVERY_S:
            reported_at = monotonic()
            report(seconds)

    report(0.0)
    return advance
