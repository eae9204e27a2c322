"""Build turns: overlapping windows vote on who speaks in each frame; successive frames of a speaker become a turn."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from natscribe.schemas.diarization import Turn

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization.assignment import UNASSIGNED, Assignment
from app.engines.diarization.chunk_analysis import LOCAL_SPEAKERS, LONG_OVERLAP_FRAMES, ChunkAnalysis
from app.engines.diarization.clustering import Floats
from app.engines.diarization.windows import (
    STEP_FRAMES,
    WINDOW_FRAMES,
    WINDOWS_PER_CHUNK,
    Indices,
    Mask,
    long_runs,
    runs,
    sample_at,
)

_FULL_WEIGHT_FRAMES = STEP_FRAMES  # from a window's edge to the first decision with full weight
_EDGE_WEIGHT = 0.5  # of a decision at a window's edge, where the segmentation model sees one side only
_MIN_LONG_OVERLAP = 1.05  # the least sum of all probabilities throughout a long overlap; 1.5 in a short one
_MIN_PAUSE_FRAMES = 12  # 0.2 s: shorter pauses of a speaker are filled
_MIN_TURN_FRAMES = 12  # 0.2 s: shorter turns are dropped
_LATE_FRAMES = 30  # 0.5 s: a shorter turn belongs to the next speaker, detected late, if a turn follows at once
_NEAR_FRAMES = 6  # 0.1 s: longest pause between such a turn and the turn that follows


_PROBABILITY = np.arange(256, dtype=np.float32) / np.float32(255)
# The vote (0 to 1) of a window for each probability (0 to 255): cubed odds, so most are near 0 or 1. So two windows in
# which a speaker probably speaks outvote one window in which the speaker certainly does not.
_VOTES = (_PROBABILITY**3 / (_PROBABILITY**3 + (1 - _PROBABILITY) ** 3)).astype(np.float32)


class _Turn(NamedTuple):
    start: int  # frames
    end: int
    speaker: int


def turns(chunks: Sequence[ChunkAnalysis], assignment: Assignment, duration: float) -> list[Turn]:
    """Return the turns of all speakers in the order of time; none lasts beyond `duration` (seconds).

    `assignment`: what `assign_speakers` returns. The speakers are labelled SPEAKER_00, SPEAKER_01 and so on, in the
    order of their first turns.
    """
    count = int(assignment.max(initial=UNASSIGNED)) + 1
    edges: list[list[Indices]] = [[] for _ in range(count)]
    for first, speaking in _decisions(chunks, assignment, count):
        for of_speaker, mask in zip(edges, speaking, strict=True):
            of_speaker.append(first + runs(mask))
    unordered = [
        _Turn(int(start), int(end), speaker)
        for speaker, of_speaker in enumerate(edges)
        for start, end in _without_short(np.concatenate(of_speaker))
    ]
    return list(_labelled(_merged(_with_late_starts(sorted(unordered))), duration))


def _labelled(turns: Sequence[_Turn], duration: float) -> Iterator[Turn]:
    labels: dict[int, str] = {}
    for turn in turns:
        start, end = _seconds(turn.start), min(_seconds(turn.end), duration)
        if start < end:
            label = labels.setdefault(turn.speaker, f"SPEAKER_{len(labels):02}")
            yield Turn(start=start, end=end, speaker=label)


def _seconds(frame: int) -> float:
    return round(sample_at(frame) / SAMPLE_RATE, 3)


def _decisions(chunks: Sequence[ChunkAnalysis], assignment: Assignment, speakers: int) -> Iterator[tuple[int, Mask]]:
    """Decide who speaks in each frame, by a vote of the windows of 10 s that overlap there.

    The vote of a window counts less near its edges. Yield for each chunk its first frame, and whether each speaker
    speaks in each of its frames, shape (speakers, frames). `speakers`: the number of speakers.
    """
    frame = np.arange(WINDOW_FRAMES)
    weights = np.minimum(frame, frame[::-1]) / _FULL_WEIGHT_FRAMES
    weights = np.clip(weights, _EDGE_WEIGHT, 1).astype(np.float32)
    reach = WINDOW_FRAMES // STEP_FRAMES  # windows of the previous chunk that reach into this chunk
    for chunk in chunks:
        first = chunk.index * WINDOWS_PER_CHUNK
        frames = (len(chunk.activity) - 1) * STEP_FRAMES + WINDOW_FRAMES
        votes, total = np.zeros((speakers, frames), np.float32), np.zeros(frames, np.float32)
        for window in range(max(first - reach, 0), first + len(chunk.activity)):
            start = (window - first) * STEP_FRAMES
            in_window, in_chunk = slice(max(-start, 0), WINDOW_FRAMES), slice(max(start, 0), start + WINDOW_FRAMES)
            activity = chunks[window // WINDOWS_PER_CHUNK].activity[window % WINDOWS_PER_CHUNK][in_window]
            by_speaker = _by_speaker(_VOTES[activity], assignment[window, in_window], speakers)
            votes[:, in_chunk] += by_speaker * weights[in_window]
            total[in_chunk] += weights[in_window]
        own = WINDOWS_PER_CHUNK * STEP_FRAMES if chunk is not chunks[-1] else frames
        yield chunk.first_frame, _speaking((votes / total)[:, :own])


def _by_speaker(activity: Floats, assignment: Assignment, speakers: int) -> Floats:
    votes = np.zeros((speakers, len(activity)), np.float32)
    for local in range(LOCAL_SPEAKERS):
        frames = np.flatnonzero(assignment[:, local] != UNASSIGNED)
        cells = assignment[frames, local], frames
        votes[cells] = np.maximum(votes[cells], activity[frames, local])
    return votes


def _speaking(probability: Floats) -> Mask:
    """Decide whether each speaker speaks in each frame; the argument and the result have the shape (speakers, frames).

    In each frame the n most probable speakers speak, where n is the sum of all probabilities, rounded, and at most 3.
    But where the sum stays at 1.05 or more for about 2 s or longer, n is at least 2: in meetings, most windows miss a
    second speaker in overlapping speech, while false overlaps, as on telephones, are short.
    """
    total = probability.sum(axis=0)
    overlap = long_runs(total >= _MIN_LONG_OVERLAP, LONG_OVERLAP_FRAMES)
    expected = np.maximum(np.floor(total + 0.5), 2 * overlap)
    speaking = np.zeros(probability.shape, np.bool_)
    ranked = np.argsort(-probability, axis=0, kind="stable")
    for rank, speaker in enumerate(ranked[:LOCAL_SPEAKERS]):
        frames = np.flatnonzero(expected > rank)
        speaking[speaker[frames], frames] = True
    return speaking


def _without_short(edges: Indices) -> Indices:
    """Fill the pauses of less than 0.2 s between the turns of one speaker, then drop turns of less than 0.2 s.

    `edges`: the start and end frame of each turn, shape (turns, 2). The result has the same form.
    """
    if not len(edges):
        return edges
    starts, ends = edges.T
    pauses = np.flatnonzero(starts[1:] - ends[:-1] >= _MIN_PAUSE_FRAMES)
    starts, ends = starts[np.r_[0, pauses + 1]], ends[np.r_[pauses, len(edges) - 1]]
    long = ends - starts >= _MIN_TURN_FRAMES
    return np.stack([starts[long], ends[long]], axis=1)


def _with_late_starts(turns: Sequence[_Turn]) -> list[_Turn]:
    """Merge each turn of less than 0.5 s into a turn of another speaker that follows at once, if there is one.

    The segmentation model often detects a new speaker late, so the short turn usually is the start of the following
    turn.
    """
    later: list[_Turn] = []  # the earliest turn is last
    for turn in reversed(turns):
        is_short = turn.end - turn.start < _LATE_FRAMES
        following = next(_following(turn, later), None) if is_short else None
        if following is None:
            later.append(turn)
        else:
            later[following] = later[following]._replace(start=turn.start)
    return sorted(later)


def _merged(turns: Sequence[_Turn]) -> list[_Turn]:
    """Merge the overlapping turns of one speaker, which `_with_late_starts` may have caused by extending a turn."""
    merged: list[_Turn] = []
    latest: dict[int, int] = {}
    for turn in turns:
        index = latest.get(turn.speaker)
        if index is not None and turn.start <= merged[index].end:
            merged[index] = merged[index]._replace(end=max(turn.end, merged[index].end))
        else:
            latest[turn.speaker] = len(merged)
            merged.append(turn)
    return merged


def _following(turn: _Turn, later: Sequence[_Turn]) -> Iterator[int]:
    """Yield the indices of the turns in `later` into which the short `turn` may be merged, the earliest turn first.

    They are turns of other speakers that start before or soon after `turn` ends, and end after it. `later`: all
    later turns, sorted from the latest to the earliest.
    """
    for index in range(len(later) - 1, -1, -1):
        if later[index].start > turn.end + _NEAR_FRAMES:
            return
        if later[index].speaker != turn.speaker and later[index].end > turn.end:
            yield index
