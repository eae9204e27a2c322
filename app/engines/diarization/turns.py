"""Build turns: overlapping windows vote on who speaks in each frame; frames of one speaker in a row become a turn."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from natscribe.schemas.diarization import Turn

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization.assignment import UNASSIGNED, Assignment
from app.engines.diarization.chunk_analysis import LOCAL_SPEAKERS, ChunkAnalysis
from app.engines.diarization.windows import (
    FIRST_FRAME_AT,
    FRAME_SAMPLES,
    STEP_FRAMES,
    WINDOW_FRAMES,
    WINDOWS_PER_CHUNK,
)

Weights = npt.NDArray[np.float32]
Edges = npt.NDArray[np.intp]  # first frame of each turn of one speaker, and the frame after its last (turns, 2)

_SURE = STEP_FRAMES  # frames from a window's edge to the first decision with full weight
_AT_EDGE = 0.5  # weight of a decision at a window's edge, where the network hears only one side
_SHORTEST_PAUSE_FRAMES = 12  # 0.2 s: shorter pauses of a speaker are filled
_SHORTEST_TURN_FRAMES = 12  # 0.2 s: shorter turns are dropped
_LATE_FRAMES = 30  # 0.5 s: a shorter turn is the next speaker's, found late, if their turn follows it
_NEAR_FRAMES = 6  # 0.1 s: longest pause between such a turn and the turn that follows it


def _votes() -> Weights:
    """Return the vote (0 to 1) of a window for each probability (0 to 255): cubed odds, so most are near 0 or 1.

    So two windows in which a speaker probably speaks outweigh one window in which the speaker certainly does not.
    """
    probable = np.arange(256, dtype=np.float32) / np.float32(255)
    odds = probable**3 / (probable**3 + (1 - probable) ** 3)
    return odds.astype(np.float32)


_VOTES = _votes()


class _Turn(NamedTuple):
    start: int  # frames
    end: int
    speaker: int


def turns(chunks: Sequence[ChunkAnalysis], owners: Assignment, duration: float) -> list[Turn]:
    """Return the turns by time, cut at `duration` seconds; speakers are numbered in the order of their first turns."""
    count = int(owners.max(initial=UNASSIGNED)) + 1
    edges: list[list[Edges]] = [[] for _ in range(count)]
    for first, speaking in _decided(chunks, owners, count):
        for of_speaker, row in zip(edges, speaking, strict=True):
            of_speaker.append(first + _edges(row))
    found = [
        _Turn(int(start), int(end), speaker)
        for speaker, of_speaker in enumerate(edges)
        for start, end in _whole(np.concatenate(of_speaker))
    ]
    return list(_named(_disjoint(_given_to_the_next(sorted(found))), duration))


def _named(turns: Sequence[_Turn], duration: float) -> Iterator[Turn]:
    names: dict[int, str] = {}
    for turn in turns:
        start, end = _seconds(turn.start), min(_seconds(turn.end), duration)
        if start < end:
            speaker = names.setdefault(turn.speaker, f"SPEAKER_{len(names):02}")
            yield Turn(start=start, end=end, speaker=speaker)


def _seconds(edge: int) -> float:
    return round((edge * FRAME_SAMPLES + FIRST_FRAME_AT) / SAMPLE_RATE, 3)


def _decided(
    chunks: Sequence[ChunkAnalysis], owners: Assignment, speakers: int
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Yield the first frame of each chunk, and whether each speaker speaks in each of its frames (speakers, frames)."""
    weights = _weights()
    for chunk in chunks:
        first = chunk.index * WINDOWS_PER_CHUNK
        reach = WINDOW_FRAMES // STEP_FRAMES  # windows of the previous chunk that reach into this chunk
        windows = range(max(first - reach, 0), first + len(chunk.activity))
        frames = (len(chunk.activity) - 1) * STEP_FRAMES + WINDOW_FRAMES
        votes, total = np.zeros((speakers, frames), np.float32), np.zeros(frames, np.float32)
        for window in windows:
            begin = (window - first) * STEP_FRAMES
            there, here = slice(max(-begin, 0), WINDOW_FRAMES), slice(max(begin, 0), begin + WINDOW_FRAMES)
            activity = chunks[window // WINDOWS_PER_CHUNK].activity[window % WINDOWS_PER_CHUNK][there]
            votes[:, here] += _by_speaker(_VOTES[activity], owners[window, there], speakers) * weights[there]
            total[here] += weights[there]
        own = WINDOWS_PER_CHUNK * STEP_FRAMES if chunk is not chunks[-1] else frames
        yield first * STEP_FRAMES, _speaking((votes / total)[:, :own])


def _weights() -> Weights:
    frame = np.arange(WINDOW_FRAMES)
    return np.clip(np.minimum(frame, frame[::-1]) / _SURE, _AT_EDGE, 1).astype(np.float32)


def _by_speaker(activity: Weights, owners: Assignment, speakers: int) -> Weights:
    votes = np.zeros((speakers, len(activity)), np.float32)
    for voice in range(LOCAL_SPEAKERS):
        owned = np.flatnonzero(owners[:, voice] != UNASSIGNED)
        places = owners[owned, voice], owned
        votes[places] = np.maximum(votes[places], activity[owned, voice])
    return votes


def _speaking(probability: Weights) -> npt.NDArray[np.bool_]:
    """Choose the n most probable speakers in each frame: n is the rounded sum of all probabilities, at most 3."""
    expected = np.floor(probability.sum(axis=0) + 0.5)
    speaking = np.zeros(probability.shape, np.bool_)
    ranked = np.argsort(-probability, axis=0, kind="stable")
    for rank, speaker in enumerate(ranked[:LOCAL_SPEAKERS]):
        frames = np.flatnonzero(expected > rank)
        speaking[speaker[frames], frames] = True
    return speaking


def _edges(speaking: npt.NDArray[np.bool_]) -> Edges:
    edges = np.diff(speaking, prepend=False, append=False).nonzero()[0]
    return np.stack([edges[::2], edges[1::2]], axis=1)


def _whole(edges: Edges) -> Edges:
    """Join the turns of a speaker across pauses of less than 0.2 s, then drop turns of less than 0.2 s."""
    if not len(edges):
        return edges
    starts, ends = edges.T
    pauses = np.flatnonzero(starts[1:] - ends[:-1] >= _SHORTEST_PAUSE_FRAMES)
    starts, ends = starts[np.r_[0, pauses + 1]], ends[np.r_[pauses, len(edges) - 1]]
    long = ends - starts >= _SHORTEST_TURN_FRAMES
    return np.stack([starts[long], ends[long]], axis=1)


def _given_to_the_next(turns: Sequence[_Turn]) -> list[_Turn]:
    """Give each turn of less than 0.5 s to the speaker of the turn that follows it at once, if there is one.

    The segmentation network often finds a new speaker a moment late.
    """
    kept: list[_Turn] = []  # the earliest turn is last
    for turn in reversed(turns):
        heir = next((place for place in _following(turn, kept) if turn.end - turn.start < _LATE_FRAMES), None)
        if heir is None:
            kept.append(turn)
        else:
            kept[heir] = kept[heir]._replace(start=turn.start)
    return sorted(kept)


def _disjoint(turns: Sequence[_Turn]) -> list[_Turn]:
    """Join the turns of one speaker that overlap, because a turn was lengthened by a short one before it."""
    joined: list[_Turn] = []
    latest: dict[int, int] = {}
    for turn in turns:
        place = latest.get(turn.speaker)
        if place is not None and turn.start <= joined[place].end:
            joined[place] = joined[place]._replace(end=max(turn.end, joined[place].end))
        else:
            latest[turn.speaker] = len(joined)
            joined.append(turn)
    return joined


def _following(turn: _Turn, later: Sequence[_Turn]) -> Iterator[int]:
    """Yield the indexes of other speakers' turns that begin before or soon after `turn` ends, and end after `turn`."""
    for place in range(len(later) - 1, -1, -1):
        if later[place].start > turn.end + _NEAR_FRAMES:
            return
        if later[place].speaker != turn.speaker and later[place].end > turn.end:
            yield place
