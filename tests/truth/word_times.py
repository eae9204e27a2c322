"""When words are spoken: clips of speech, each from its first to its last loud frame, and how far off times are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np

from tests.truth.recordings import RATE, Samples, read
from tests.truth.words import plain

Word = tuple[float, float, str]  # start, end and text, as recognized

_FRAME = RATE // 100  # samples
_QUIETEST = 10**-3.5  # power of the quietest speech, as a part of that of the loudest frame
_SEPARATE = RATE // 2  # samples of digital silence between two clips of a recording
_OTHER_WORD_S = 2.0  # farther away is another word with the same letters


@dataclass(frozen=True)
class Clip:
    """Speech and its words."""

    samples: Samples
    text: str

    @property
    def edges(self) -> tuple[float, float]:
        """Start and end of the speech, in seconds: the first and last frame within 35 dB of the loudest."""
        frames = self.samples[: len(self.samples) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
        power = (frames**2).mean(axis=1)
        loud = np.flatnonzero(power > power.max() * _QUIETEST)
        return float(loud[0]) * _FRAME / RATE, float(loud[-1] + 1) * _FRAME / RATE


@dataclass(frozen=True)
class Joined:
    """Clips, one after the other: the samples, and the words of each clip with their start and end in seconds."""

    samples: Samples
    said: Sequence[Word]


def clips_of(recording: Path) -> list[Clip]:
    """Cut a recording at its digital silences; each line of its text is what one clip says."""
    samples, texts = read(recording), recording.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    is_silent = np.concatenate(([0], samples == 0, [0])).astype(np.int8)
    silences = np.flatnonzero(np.diff(is_silent)).reshape(-1, 2)
    starts, ends = silences[np.diff(silences).ravel() >= _SEPARATE].T
    parts = zip([0, *ends[:-1]], starts, texts, strict=True)
    return [Clip(samples[start:end], text) for start, end, text in parts]


def joined(clips: Sequence[Clip], pauses: Sequence[float]) -> Joined:
    """Join clips, with a pause in seconds before each, and half a second of silence at the end."""
    parts, said, seconds = list[Samples](), list[Word](), 0.0
    for clip, pause in zip(clips, pauses, strict=True):
        parts += [np.zeros(round(pause * RATE), np.int16), clip.samples]
        first, last = clip.edges
        seconds = sum(map(len, parts[:-1])) / RATE
        said.append((seconds + first, seconds + last, clip.text))
    return Joined(np.concatenate([*parts, np.zeros(RATE // 2, np.int16)]), said)


def errors(said: Sequence[Word], words: Sequence[Word]) -> list[float]:
    """Return by how many seconds the first word of each clip starts, and the last one ends, too late or too early.

    A word that was not recognized is left out: its time is nobody's error.
    """
    spoken = [(number, word) for number, (_, _, text) in enumerate(said) for word in plain(text).split()]
    recognized = [(number, word) for number, (_, _, text) in enumerate(words) for word in plain(text).split()]
    alike = dict(_alike([word for _, word in spoken], [word for _, word in recognized]))
    of_clip, of_word = [number for number, _ in spoken], [number for number, _ in recognized]
    found = []
    for place, other in alike.items():
        start, end, _ = said[of_clip[place]]
        word = words[of_word[other]]
        if of_clip[place - 1 : place] != [of_clip[place]] and of_word[other - 1 : other] != [of_word[other]]:
            found.append(word[0] - start)
        if of_clip[place + 1 : place + 2] != [of_clip[place]] and of_word[other + 1 : other + 2] != [of_word[other]]:
            found.append(word[1] - end)
    return [error for error in found if abs(error) < _OTHER_WORD_S]


def _alike(spoken: Sequence[str], recognized: Sequence[str]) -> Iterator[tuple[int, int]]:
    for chunk in jiwer.process_words(" ".join(spoken), " ".join(recognized)).alignments[0]:
        if chunk.type == "equal":
            yield from zip(
                range(chunk.ref_start_idx, chunk.ref_end_idx),
                range(chunk.hyp_start_idx, chunk.hyp_end_idx),
                strict=True,
            )
