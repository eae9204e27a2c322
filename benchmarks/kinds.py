"""The kinds of recordings for measurements of speech: read from a folder, with the text of each."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.calls import write_calls
from benchmarks.sizes import Sizes
from benchmarks.stack import ROOT
from tests.truth.recordings import RATE, Spoken, channels_of, write

REPOSITORY = ROOT / "tests/recordings/speech"
BESIDE = ROOT.parent / "shared/speech"  # a larger set, where there is one
NAMED_BY = "SPEECH_RECORDINGS"
CHANNELS = 2  # of a call


@dataclass(frozen=True)
class RecordingKind:
    """Recordings of one kind, as the bare engine is given them.

    Where the service is given recordings of several channels instead, these are `calls`, of which the bare engine is
    given each channel.
    """

    name: str
    recordings: tuple[Spoken, ...]
    calls: tuple[Path, ...] = ()
    several_languages: bool = False  # in one recording
    words_count: bool = True  # among the words of all kinds

    @property
    def words(self) -> list[str]:
        """The text of each recording."""
        return [recording.words for recording in self.recordings]

    @property
    def seconds(self) -> float:
        """Total length of the recordings."""
        return sum(recording.seconds for recording in self.recordings)

    @property
    def bare_options(self) -> tuple[str, ...]:
        """The options of the bare engine for such recordings."""
        return ("--multilingual",) if self.several_languages else ()


def folder() -> Path:
    """Find the recordings: in SPEECH_RECORDINGS, from the repository on, else the larger set, else the repository's."""
    named = os.environ.get(NAMED_BY)
    return ROOT / named if named else BESIDE if BESIDE.is_dir() else REPOSITORY


def where() -> str:
    """Describe the recordings for a note below a table."""
    own = folder().resolve() == REPOSITORY
    return "the repository's own" if own else "a larger set than the repository's, laid out alike"


def chosen_kinds(scratch: Path, sizes: Sizes) -> list[RecordingKind]:
    """List the kinds of a run."""
    return [kind for kind in kinds_in(folder(), scratch) if sizes.kinds is None or kind.name in sizes.kinds]


def kinds_in(recordings: Path, scratch: Path) -> list[RecordingKind]:
    """List all kinds in a folder laid out like tests/recordings/speech; single channels are written to `scratch`."""
    kinds: list[RecordingKind] = []
    for path in sorted(recordings.glob("*.flac")):
        lines = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
        if lines[0].startswith("left "):
            sides = _sides(path, [line.partition(": ")[2] for line in lines], scratch)
            kinds.append(RecordingKind(path.stem, sides, calls=(path,)))
        elif path.with_suffix(".json").exists():
            kinds.append(_several_languages(path, lines))
        else:
            kinds.append(RecordingKind(path.stem, (_spoken(path, " ".join(lines)),)))
    messages = [_messages(listing) for listing in sorted((recordings / "short").glob("*.json"))]
    calls = [_calls_of(messages, scratch)] if len(messages) == CHANNELS else []
    return [*kinds, *messages, *calls]


def _spoken(path: Path, words: str) -> Spoken:
    return Spoken(path, len(channels_of(path)[0]) / RATE, words)


def _several_languages(path: Path, lines: list[str]) -> RecordingKind:
    """Each line of the text begins with its language."""
    words = " ".join(line.partition(": ")[2] for line in lines)
    return RecordingKind(path.stem, (_spoken(path, words),), several_languages=True)


def _calls_of(messages: list[RecordingKind], scratch: Path) -> RecordingKind:
    """Calls made of the short messages: one call alone has too few words to distinguish two engines.

    Their words do not count: the messages are kinds of their own.
    """
    calls = write_calls([kind.recordings for kind in messages], scratch)
    sides = [side for path, texts in calls for side in _sides(path, texts, scratch)]
    name = f"calls, {len(calls)} made of the messages"
    return RecordingKind(name, tuple(sides), tuple(path for path, _ in calls), words_count=False)


def _sides(path: Path, texts: list[str], scratch: Path) -> tuple[Spoken, ...]:
    """Write each channel of a call into a file."""
    files = [scratch / f"{path.stem}-{number}.wav" for number in range(len(texts))]
    for file, samples in zip(files, channels_of(path), strict=True):
        write(file, [samples])
    return tuple(_spoken(file, text) for file, text in zip(files, texts, strict=True))


def _messages(listing: Path) -> RecordingKind:
    """Short recordings, one task each."""
    texts: dict[str, str] = json.loads(listing.read_text(encoding="utf-8"))
    recordings = tuple(_spoken(listing.with_name(f"{name}.flac"), text) for name, text in texts.items())
    return RecordingKind(f"{listing.parent.name}-{listing.stem}, {len(recordings)} messages", recordings)
