"""Assign the local speakers of each window to the speakers of the recording.

The segmentation model distinguishes up to three local speakers in a window of 10 s, but may take two people with short
turns for one. So the assignment of a local speaker may change within a window: it is assigned to the speaker whom its
embeddings resemble, and from where they clearly resemble another speaker more, to that one, most easily after a pause.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.chunk_analysis import LOCAL_SPEAKERS, MIN_SPEECH_FRAMES, ChunkAnalysis, is_active
from app.engines.diarization.clustering import Floats
from app.engines.diarization.regions import MAX_EMBEDDING_FRAMES
from app.engines.diarization.speakers import Embeddings, normalized
from app.engines.diarization.windows import FRAME_SAMPLES, STEP_FRAMES, WINDOW_FRAMES, Indices, Mask, runs

Assignment = npt.NDArray[np.int16]

UNASSIGNED = -1  # the assignment of a local speaker that belongs to no speaker

_FRAME_S = np.float32(FRAME_SAMPLES / SAMPLE_RATE)
_STEP_FRAMES = 15  # 0.25 s: about the length of a step; the assignment does not change within a step
_PAUSE_FRAMES = 12  # 0.2 s: after a pause of this length another person may go on
# Costs, in seconds of speech times similarity (1: an embedding equal to a speaker's centroid).
_EDGE_WEIGHT = 0.05  # weight of an embedding at its start and end; 1 in its middle


def assign_speakers(chunks: Sequence[ChunkAnalysis], embeddings: Embeddings, centroids: Floats) -> Assignment:
    """Assign each window's local speakers to the speakers of the recording, frame by frame.

    Local speakers are the up to three people whom the segmentation model distinguishes in a window of 10 s. Return an
    array of shape (windows, frames, 3): the index of the speaker, from 0, or `UNASSIGNED`. `centroids`: the mean
    embedding of each speaker, shape (speakers, 192).
    """
    windows = sum(len(chunk.activity) for chunk in chunks)
    assignment = np.full((windows, WINDOW_FRAMES, LOCAL_SPEAKERS), UNASSIGNED, np.int16)
    if not len(centroids):
        return assignment
    for chunk in chunks:
        for number, active in enumerate(is_active(chunk.activity)):
            first_frame = chunk.first_frame + number * STEP_FRAMES
            similarity, has_embedding = _similarity(embeddings, centroids, first_frame)
            overlapped = {
                speaker.number: centroids @ normalized(speaker.values.astype(np.float32)[np.newaxis])[0]
                for speaker in chunk.overlapped
                if speaker.window == number
            }
            _assign_window(active, similarity, has_embedding, overlapped, assignment[first_frame // STEP_FRAMES])
    return assignment


def _similarity(embeddings: Embeddings, centroids: Floats, first: int) -> tuple[Floats, Mask]:
    """Return how similar each frame of a window is to each speaker, and whether any embedding covers the frame.

    The shapes are (speakers, frames) and (frames,). The similarity of a frame is the weighted mean of the similarities
    of all embeddings that cover the frame. An embedding weighs most in its middle. `first`: the first frame of the
    window, counted from the start of the recording.
    """
    scores, total = np.zeros((len(centroids), WINDOW_FRAMES), np.float32), np.zeros(WINDOW_FRAMES, np.float32)
    low, high = np.searchsorted(embeddings.starts, (first - MAX_EMBEDDING_FRAMES, first + WINDOW_FRAMES))
    for number in range(int(low), int(high)):
        start, end = int(embeddings.starts[number]) - first, int(embeddings.ends[number]) - first
        frames = np.arange(max(start, 0), min(end, WINDOW_FRAMES))
        weight = np.maximum(1 - np.abs(frames + 0.5 - (start + end) / 2) / ((end - start) / 2), _EDGE_WEIGHT)
        scores[:, frames] += np.outer(centroids @ embeddings.vectors[number], weight)
        total[frames] += weight
    scores /= np.maximum(total, _EDGE_WEIGHT)
    return scores, total > 0


def _assign_window(
    active: Mask, similarity: Floats, has_embedding: Mask, overlapped: dict[int, Floats], assignment: Assignment
) -> None:
    """Assign the local speakers of one window to the speakers of the recording; write the result into `assignment`.

    Local speakers are the up to three people whom the segmentation model distinguishes in the window. The one who
    speaks alone in the most frames is assigned first. One who never speaks alone, and is not in `overlapped`, is not
    assigned. `active`: whether each local speaker speaks, shape (frames, 3). `similarity`, `has_embedding`: what
    `_similarity` returns. `overlapped`: for each local speaker who hardly ever speaks alone, the similarity to each
    speaker. `assignment`: has the shape (frames, 3).
    """
    clean = (active & (active.sum(axis=1) == 1)[:, np.newaxis] & has_embedding[:, np.newaxis]).T
    for local in np.argsort(-clean.sum(axis=1), kind="stable"):
        steps = _steps(active[:, local])
        if active[:, local].sum() < MIN_SPEECH_FRAMES or not (clean[local].any() or local in overlapped):
            continue
        scores = [
            overlapped[local] * (end - start)
            if local in overlapped
            else similarity[:, start:end][:, clean[local, start:end]].sum(axis=1)
            for start, end in steps
        ]
        evidence = np.array(scores, np.float32)
        for row, (start, end) in zip(evidence, steps, strict=True):
            assigned = assignment[start:end][active[start:end] & (assignment[start:end] != UNASSIGNED)]
            np.subtract.at(row, assigned, VOICE_NETWORK.same_speaker_cost)
        pauses = [True, *(start - end >= _PAUSE_FRAMES for (_, end), (start, _) in pairwise(steps))]
        path = _best_path(
            evidence * _FRAME_S, np.where(pauses, VOICE_NETWORK.change_cost_after_pause, VOICE_NETWORK.change_cost)
        )
        middles = np.array([(start + end) / 2 for start, end in steps])
        assignment[:, local] = path[np.abs(np.arange(WINDOW_FRAMES)[:, np.newaxis] - middles).argmin(axis=1)]


def _steps(active: Mask) -> list[tuple[int, int]]:
    """Cut the frames in which a local speaker speaks into steps of about 0.25 s, within which the assignment is fixed.

    Return each step as its first frame and the frame after its last. `active`: whether the local speaker speaks, shape
    (frames,).
    """
    steps: list[tuple[int, int]] = []
    for start, end in runs(active):
        count = max(1, round((end - start) / _STEP_FRAMES))
        steps += pairwise(np.linspace(start, end, count + 1).astype(int).tolist())
    return steps


def _best_path(evidence: Floats, costs: npt.NDArray[np.float64]) -> Indices:
    """Choose a speaker for each step such that the total evidence minus the cost of all changes is largest (Viterbi).

    Return the index of the speaker of each step, shape (steps,). `evidence`: the evidence for each speaker in each
    step, shape (steps, speakers). `costs`: the cost of a change of speaker before each step, shape (steps,).
    """
    previous_speakers: list[Indices] = []  # for each step but the first, the best previous speaker for each speaker
    best = evidence[0]
    for step_evidence, cost in zip(evidence[1:], costs[1:], strict=True):
        leader = int(best.argmax())
        change = best[leader] - cost
        previous_speakers.append(np.where(best >= change, np.arange(len(best)), leader))
        best = np.maximum(best, change) + step_evidence
    path = [int(best.argmax())]
    for origins in reversed(previous_speakers):
        path.append(int(origins[path[-1]]))
    return np.array(path[::-1])
