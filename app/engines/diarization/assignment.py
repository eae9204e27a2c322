"""Find the owner of each voice of a window at each moment: the speaker whose speech the voice is.

The segmentation network keeps the voices of a window apart, but may join people who take short turns. So a voice is
followed through its window: it belongs to the speaker whom its embeddings are like, and passes to another speaker where
its embeddings are clearly more like that other speaker, most easily after a pause.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization.chunk_analysis import LOCAL_SPEAKERS, MIN_SPEECH_FRAMES, ChunkAnalysis, Speaking
from app.engines.diarization.clustering import Labels
from app.engines.diarization.regions import MAX_EMBEDDING_FRAMES
from app.engines.diarization.speakers import Embeddings, Vectors, normalized
from app.engines.diarization.windows import FRAME_SAMPLES, STEP_FRAMES, WINDOW_FRAMES, WINDOWS_PER_CHUNK

Assignment = npt.NDArray[np.int16]
Scores = npt.NDArray[np.float32]

UNASSIGNED = -1
"""The owner of a voice that belongs to no speaker."""

_SECONDS = np.float32(FRAME_SAMPLES / SAMPLE_RATE)  # in a frame
_STEP_FRAMES = 15  # 0.25 s: about the length of a step; a voice has one owner in each step
_PAUSE_FRAMES = 12  # 0.2 s: after a silence of this length another person may go on
# Costs, in seconds of speech times similarity (1: an embedding equal to a speaker's centre).
_CHANGE = 0.25  # the owner of a voice changes while the voice speaks
_CHANGE_AFTER_PAUSE = 0.05
_TWICE = 0.9  # for a second in which two voices that speak at the same time have one owner
_EDGE = 0.05  # weight of an embedding at its start and end; in its middle the weight is 1


def assign_speakers(chunks: Sequence[ChunkAnalysis], embeddings: Embeddings, centres: Vectors) -> Assignment:
    """Return the owner of each voice in each frame: a number from 0, or `UNASSIGNED` (windows, frames, voices).

    `centres`: the centre of each speaker (speakers, 192).
    """
    found = np.full((sum(len(chunk.activity) for chunk in chunks), WINDOW_FRAMES, LOCAL_SPEAKERS), UNASSIGNED, np.int16)
    if not len(centres):
        return found
    for chunk in chunks:
        speaking = chunk.speaking
        own = {(each.window, each.voice): each.values.astype(np.float32) for each in chunk.voices}
        for number in range(len(chunk.activity)):
            window = chunk.index * WINDOWS_PER_CHUNK + number
            heard, known = _likeness(embeddings, centres, window * STEP_FRAMES)
            alike = {voice: centres @ normalized(own[number, voice][np.newaxis])[0] for n, voice in own if n == number}
            _follow(speaking[number], heard, known, alike, found[window])
    return found


def _likeness(embeddings: Embeddings, centres: Vectors, first: int) -> tuple[Scores, Speaking]:
    """Return how much each frame of a window is like each speaker (speakers, frames), and which frames have embeddings.

    `first` is the first frame of the window. A frame is judged by the mean of the embeddings that it is part of; an
    embedding weighs most in its middle.
    """
    scores, total = np.zeros((len(centres), WINDOW_FRAMES), np.float32), np.zeros(WINDOW_FRAMES, np.float32)
    low, high = np.searchsorted(embeddings.starts, (first - MAX_EMBEDDING_FRAMES, first + WINDOW_FRAMES))
    for number in range(int(low), int(high)):
        start, end = int(embeddings.starts[number]) - first, int(embeddings.ends[number]) - first
        place = np.arange(max(start, 0), min(end, WINDOW_FRAMES))
        weight = np.maximum(1 - np.abs(place + 0.5 - (start + end) / 2) / ((end - start) / 2), _EDGE)
        scores[:, place] += np.outer(centres @ embeddings.vectors[number], weight)
        total[place] += weight
    scores /= np.maximum(total, _EDGE)
    return scores, total > 0


def _follow(speaking: Speaking, heard: Scores, known: Speaking, alike: dict[int, Scores], owner: Assignment) -> None:
    """Write the owners of a window's voices into `owner` (frames, voices), first for the voice that speaks alone most.

    `heard` and `known` are what `_likeness` returns. `alike`: how much each voice that hardly ever speaks alone is like
    each speaker. A voice that never speaks alone and is not in `alike` gets no owner.
    """
    clean = (speaking & (speaking.sum(axis=1) == 1)[:, np.newaxis] & known[:, np.newaxis]).T
    for voice in np.argsort(-clean.sum(axis=1), kind="stable"):
        steps = _steps(speaking[:, voice])
        if speaking[:, voice].sum() < MIN_SPEECH_FRAMES or not (clean[voice].any() or voice in alike):
            continue
        of_voice = [
            alike[voice] * (end - start)
            if voice in alike
            else heard[:, start:end][:, clean[voice, start:end]].sum(axis=1)
            for start, end in steps
        ]
        evidence = np.array(of_voice, np.float32)
        for row, (start, end) in zip(evidence, steps, strict=True):
            others = owner[start:end][speaking[start:end] & (owner[start:end] != UNASSIGNED)]
            np.subtract.at(row, others, _TWICE)
        pauses = [True, *(start - end >= _PAUSE_FRAMES for (_, end), (start, _) in pairwise(steps))]
        path = _best_path(evidence * _SECONDS, np.where(pauses, _CHANGE_AFTER_PAUSE, _CHANGE))
        middles = np.array([(start + end) / 2 for start, end in steps])
        owner[:, voice] = path[np.abs(np.arange(WINDOW_FRAMES)[:, np.newaxis] - middles).argmin(axis=1)]


def _steps(speaks: Speaking) -> list[tuple[int, int]]:
    """Cut the frames in which a voice speaks into steps of about a quarter of a second."""
    found: list[tuple[int, int]] = []
    for start, end in np.flatnonzero(np.diff(speaks, prepend=False, append=False)).reshape(-1, 2):
        count = max(1, round((end - start) / _STEP_FRAMES))
        found += pairwise(np.linspace(start, end, count + 1).astype(int).tolist())
    return found


def _best_path(evidence: Scores, costs: npt.NDArray[np.float64]) -> Labels:
    """Return a speaker for each step, so that all evidence, less the costs of all changes, is highest (Viterbi 1967).

    `evidence`: (steps, speakers). `costs`: what a change of the speaker before each step costs.
    """
    came_from: list[Labels] = []  # for each step but the first the speaker before it, for each speaker
    best = evidence[0]
    for of_step, cost in zip(evidence[1:], costs[1:], strict=True):
        leader = int(best.argmax())
        change = best[leader] - cost
        came_from.append(np.where(best >= change, np.arange(len(best)), leader))
        best = np.maximum(best, change) + of_step
    path = [int(best.argmax())]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])
