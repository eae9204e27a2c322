"""Analyse a chunk, i.e. 16 overlapping windows: detect when each local speaker speaks, and compute speaker embeddings.

A local speaker is one of the up to three people whom the segmentation model distinguishes within one window of 10 s.
Later, `speakers.py` clusters the embeddings, and `assignment.py` maps local speakers to the speakers of the recording.
"""

from collections.abc import Callable, Iterator

import numpy as np

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.diarization.chunk_analysis import (
    LOCAL_SPEAKERS,
    MIN_SPEECH_FRAMES,
    Activity,
    ChunkAnalysis,
    Embedding,
    LocalSpeaker,
    Quantized,
    is_active,
    quantized,
)
from app.engines.diarization.features import features
from app.engines.diarization.networks import Networks
from app.engines.diarization.regions import MIN_EMBEDDING_FRAMES, embedding_spans
from app.engines.diarization.telephone import is_from_telephone
from app.engines.diarization.windows import (
    FRAME_SAMPLES,
    STEP_SAMPLES,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    ChunkAudio,
    Mask,
    runs,
    sample_at,
)

# The powerset classes of the segmentation model: which local speakers are active in each class.
_POWERSET = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)
_SEGMENTATION_SHARE = 0.2  # of the time that a chunk takes; embeddings take the rest
_SILENCE = 2.0**-15  # one step of 16 bits: a window that is never louder is silent
_CLEAN_FRAMES = 18  # 0.3 s: with less speech alone, the embedding of a local speaker includes overlapping speech
_ENOUGH_FRAMES = 30  # 0.5 s: a local speaker with less speech in regions gets an embedding of its own
_MIN_SAMPLES = 1_600  # 0.1 s: shorter speech gets no embedding
_MAX_SAMPLES = 64_000  # 4 s: more samples make an embedding slower, but no better


def analyse_chunk(networks: Networks, audio: ChunkAudio, progress: Callable[[float], None]) -> ChunkAnalysis:
    """Detect when each local speaker of a chunk speaks, and compute the speaker embeddings of the chunk.

    A chunk is about a minute of audio; local speakers are the up to three people whom the segmentation model
    distinguishes within 10 s. `progress` is called repeatedly with how much of the recording is processed so far, in
    seconds.
    """
    activities = []
    for number in range(audio.windows):
        activities.append(_activity(networks, audio.window(number)))
        progress((audio.first_sample + number * STEP_SAMPLES * _SEGMENTATION_SHARE) / SAMPLE_RATE)
    activity = np.array(activities)
    active = is_active(activity)
    embeddings = []
    for start, end in embedding_spans(active, audio.frames):
        speech = audio.samples[sample_at(start) : sample_at(end)]
        if len(speech) >= _MIN_SAMPLES:  # the segmentation model may find speech beyond the end of the recording
            embeddings.append(Embedding(start, end, _embed(networks, speech), is_from_telephone(speech)))
        done = _SEGMENTATION_SHARE * audio.frames + (1 - _SEGMENTATION_SHARE) * end
        progress((audio.first_sample + done * FRAME_SAMPLES) / SAMPLE_RATE)
    overlapped = [
        speaker
        for number in range(audio.windows)
        for speaker in _overlapped_speakers(networks, number, audio.window(number), active[number])
    ]
    return ChunkAnalysis(audio.index, activity, embeddings, overlapped)


def _activity(networks: Networks, samples: Samples) -> Activity:
    """Run the segmentation model on a window of 10 s, in which it distinguishes up to three local speakers.

    Return the probability that each local speaker speaks in each frame, as integers from 0 to 255, shape (frames, 3).
    `samples`: those of the window; fewer at the end of the recording.
    """
    if np.abs(samples).max(initial=0) <= _SILENCE:
        return np.zeros((WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    logprobs = networks.segment(np.pad(samples, (0, WINDOW_SAMPLES - len(samples))))
    return np.rint(np.exp(logprobs) @ _POWERSET * 255).clip(0, 255).astype(np.uint8)


def _overlapped_speakers(networks: Networks, window: int, samples: Samples, active: Mask) -> Iterator[LocalSpeaker]:
    """Yield an embedding of each local speaker of a window of 10 s who hardly ever speaks alone.

    An example is somebody who says one word while another person speaks. Such local speakers have less than 0.5 s of
    speech in the regions from which other embeddings are computed, which is too little to identify them. `window`: the
    index of the window in the chunk. `active`: whether each local speaker speaks, shape (frames, 3).
    """
    alone = active.sum(axis=1) == 1
    for number in range(LOCAL_SPEAKERS):
        speaks = active[:, number]
        clean = speaks & alone
        if speaks.sum() < MIN_SPEECH_FRAMES or _frames_in_regions(clean) >= _ENOUGH_FRAMES:
            continue
        speech = _joined(samples, clean if clean.sum() >= _CLEAN_FRAMES else speaks)
        if len(speech) >= _MIN_SAMPLES:
            yield LocalSpeaker(window, number, _embed(networks, speech))


def _frames_in_regions(clean: Mask) -> int:
    """Count the frames of the runs in `clean` that are long enough for an embedding.

    `clean`: whether one local speaker speaks alone in each frame, shape (frames,).
    """
    starts, ends = runs(clean).T
    lengths = ends - starts
    return int(lengths[lengths >= MIN_EMBEDDING_FRAMES].sum())


def _embed(networks: Networks, samples: Samples) -> Quantized:
    return quantized(networks.embed(features(samples)))


def _joined(samples: Samples, frames: Mask) -> Samples:
    """Concatenate the samples of the selected frames; if they are longer than 4 s, return only their middle 4 s.

    `samples`: those of the window. `frames`: which frames are selected, shape (frames,). Each run of selected frames is
    extended by 270 samples at its end, because frame n begins at sample 360 + 270 n of the window, and the run is cut
    out from sample 270 n on.
    """
    joined = np.concatenate([samples[start * FRAME_SAMPLES : (end + 1) * FRAME_SAMPLES] for start, end in runs(frames)])
    excess = max(len(joined) - _MAX_SAMPLES, 0)
    return joined[excess // 2 :][:_MAX_SAMPLES]
