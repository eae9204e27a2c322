"""Measure who says what in conversations with a known truth, on request beside sherpa-onnx and faster-whisper.

A truth lies beside its recording: ``<name>.json``, a list of {speaker, start, end, words} (words may be left out), or
``<name>.rttm``. The conversations of one folder are one row. Each figure is told pooled, as a mean, and for the worst
conversation: time under another speaker (collar .25 s), DER (no collar), WER, cpWER. The engine runs in this process,
on one thread::

    python tools/measure_speakers.py app/cli/demo conversations calls
    python tools/measure_speakers.py --text --each --cache cache ../shared/speech/talk
    python tools/measure_speakers.py --text --sherpa --bare --cache cache --json figures.json ../shared/speech/talk

The peers are those of ``make bench``, in ``.venv-peers``. With ``--cache``, transcripts and what the peers find are
kept by the hash of the recording, so a second run does only diarization and attribution again. Take another folder
after a change of what transcribes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from natscribe.schemas.transcription import Segment
from pydantic import TypeAdapter

from app.engines.audio.decoding import decode
from app.engines.audio.limits import Budget, Limit
from app.engines.messages import (
    DiarizationDone,
    Diarize,
    Listen,
    Reply,
    Setup,
    Transcribe,
    WindowFound,
    WindowsTranscribed,
)
from app.engines.process.job_runner import JobRunner
from app.engines.whisper import bundled
from app.speech.attribution import attribute
from benchmarks.peers.environment import PEERS_PYTHON, installed
from benchmarks.spread import Scored, facts, line, table
from tests.truth.attributed import by_the_turns, time_errors, word_errors
from tests.truth.conversations import Conversation, conversations_in
from tests.truth.recordings import RATE, write

Found: TypeAlias = dict[str, dict[str, list[Scored]]]

OURS, SHERPA, BARE = "this service", "sherpa-onnx as it comes", "bare engine, batched, with sherpa-onnx"
ROOT = Path(__file__).parents[1]
SEGMENTS = TypeAdapter(list[Segment])


@dataclass(frozen=True)
class Wanted:
    """What is measured: errors of the text, too; beside the peers; with the number of speakers told."""

    text: bool
    sherpa: Path | None  # the folder of its two networks
    bare: bool
    told: bool
    kept: Path | None


@dataclass(frozen=True)
class Heard:
    """What one way has found: turns, texts with their speakers, seconds of processor time of the diarization."""

    turns: Sequence[tuple[float, float, str]]
    texts: Sequence[tuple[str | None, str]] | None
    taken: float | None


@cache
def engine() -> JobRunner:
    """Load the engine, once in a process."""
    limits = {"max_seconds": 1e9, "diarization_max_seconds": 1e9, "max_decode_seconds": 1e9}
    return JobRunner(Setup(parent=os.getpid(), threads=1, beam=5, at_once=1, **limits))


def replies(job: Listen | Transcribe | Diarize) -> list[Reply]:
    """Have the engine do a job."""
    found: list[Reply] = []
    engine().run(job, found.append)
    return found


def transcript(recording: Path) -> str:
    """Transcribe a recording window by window: in batches, the service finds the same text."""
    windows = [reply.window for reply in replies(Listen(path=recording)) if isinstance(reply, WindowFound)]
    found: list[Segment] = []
    language = None
    for window in windows:
        (done,) = replies(Transcribe(windows=[window], previous=[language]))
        if isinstance(done, WindowsTranscribed):
            (text,) = done.texts
            language = text.language or language
            found += text.segments
    return SEGMENTS.dump_json(found).decode()


def peer(recording: Path, interpreter: str, *command: str, **variables: str) -> str:
    """Have a peer hear a recording, which it is given as WAV, and return its answer."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        write(sound, [(samples_of(recording).clip(-1, 1) * 32767).astype(np.int16)])
        program = [interpreter, "-m", *command]
        done = subprocess.run(  # noqa: S603 -- our own program
            program, input=f"{sound}\n", capture_output=True, text=True, env=environment, check=False
        )
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stderr[-600:]}")
    return done.stdout.splitlines()[-1]


def samples_of(recording: Path) -> npt.NDArray[np.float32]:
    """Decode a recording: 16 kHz, mono."""
    return np.concatenate(list(decode(recording, Budget(Limit(float("inf"), "")))))


def remembered(recording: Path, way: str, folder: Path | None, find: Callable[[], str]) -> str:
    """Return what was found before in a recording with these bytes, or else find it and keep it."""
    if folder is None:
        return find()
    kept = folder / f"{sha256(recording.read_bytes()).hexdigest()[:24]}.{way}.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_text(find(), encoding="utf-8")
        written.replace(kept)
    return kept.read_text(encoding="utf-8")


def score(conversation: Conversation, wanted: Wanted) -> dict[str, Scored]:
    """Measure each way in one conversation."""
    heard = {OURS: ours(conversation, wanted)}
    if wanted.sherpa:
        heard[SHERPA] = sherpa(conversation.path, wanted)
    if wanted.bare and conversation.has_words:
        heard[BARE] = bare(conversation.path, wanted)
    return {way: scored(conversation, each) for way, each in heard.items()}


def scored(conversation: Conversation, heard: Heard) -> Scored:
    """Compare what was heard with the truth."""
    said, seconds = conversation.said, len(samples_of(conversation.path)) / RATE
    return Scored(
        f"{conversation.path.parent.name}/{conversation.name}",
        seconds,
        time_errors(said, heard.turns, seconds),
        conversation.speakers,
        len({speaker for _, _, speaker in heard.turns}),
        None if heard.texts is None else word_errors(said, heard.texts),
        heard.taken,
    )


def ours(conversation: Conversation, wanted: Wanted) -> Heard:
    """Hear a conversation as the service does."""
    bounds = {"min_speakers": conversation.speakers, "max_speakers": conversation.speakers} if wanted.told else {}
    job = Diarize.model_validate({"path": conversation.path, **bounds})
    began = time.process_time()
    done = replies(job)[-1]
    taken = time.process_time() - began
    if not isinstance(done, DiarizationDone):
        raise TypeError(done)
    turns = [(turn.start, turn.end, turn.speaker) for turn in done.turns]
    if not (wanted.text and conversation.has_words):
        return Heard(turns, None, taken)
    known = remembered(conversation.path, "text", wanted.kept, partial(transcript, conversation.path))
    segments = attribute(SEGMENTS.validate_json(known), done.turns)
    return Heard(turns, [(segment.speaker, segment.text) for segment in segments], taken)


def sherpa(recording: Path, wanted: Wanted) -> Heard:
    """Hear a conversation as sherpa-onnx does as it comes."""
    command = (PEERS_PYTHON, "benchmarks.peers.sherpa_diarization")
    find = partial(peer, recording, *command, WEIGHTS=str(wanted.sherpa))
    answer = json.loads(remembered(recording, "sherpa", wanted.kept, find))
    turns = [(turn["start"], turn["end"], turn["speaker"]) for turn in json.loads(answer["text"])]
    return Heard(turns, None, answer["processor"])


def bare(recording: Path, wanted: Wanted) -> Heard:
    """Hear a conversation as the bare engine does, its words given to the turns of sherpa-onnx."""
    command = (sys.executable, "benchmarks.bare", "batched", "--multilingual", "--words")
    find = partial(peer, recording, *command, MODEL=str(bundled.folder()))
    answer = json.loads(remembered(recording, "bare", wanted.kept, find))
    turns = sherpa(recording, wanted).turns
    return Heard(turns, by_the_turns(json.loads(answer["text"]), turns), None)


def measure(sets: dict[str, list[Conversation]], wanted: Wanted, jobs: int, tell: Callable[[str], None]) -> Found:
    """Measure all conversations, several at once if asked, and return the scores by way and set."""
    found: Found = defaultdict(lambda: defaultdict(list))
    names = [name for name, conversations in sets.items() for _ in conversations]
    conversations = [each for several in sets.values() for each in several]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for name, scores in zip(names, pool.map(partial(score, wanted=wanted), conversations), strict=True):
            for way, each in scores.items():
                found[way][name].append(each)
                tell(line(way, each))
    for rows in found.values():
        if len(rows) > 1:
            rows["all"] = [each for scores in rows.values() for each in scores]
    return found


def by_folder(paths: Iterable[Path]) -> dict[str, list[Conversation]]:
    """List the conversations of each folder."""
    found: dict[str, list[Conversation]] = defaultdict(list)
    for path in paths:
        for conversation in conversations_in(path):
            found["/".join(conversation.path.absolute().parts[-4:-1])].append(conversation)
    return dict(sorted(found.items()))


def main() -> None:
    """Measure every conversation that lies in a named folder."""
    options = arguments()
    sets = by_folder(options.folders)
    weights = {"peers": Path(str(resources.files("app.engines"))) / "weights"}
    chosen = weights.get(str(options.sherpa), options.sherpa)
    if (options.sherpa or options.bare) and not installed():
        print("The peers are not installed: `make bench ONLY=speakers` installs them. Measuring this service only.\n")
        options.sherpa = options.bare = None
    wanted = Wanted(options.text, options.sherpa and chosen, bool(options.bare), options.told, options.cache)
    found = measure(sets, wanted, options.jobs, partial(print, flush=True) if options.each else lambda _: None)
    for way, rows in found.items():
        print(f"\n{table(way, rows)}", flush=True)
    if options.json:
        kept = {way: {name: facts(scores) for name, scores in rows.items()} for way, rows in found.items()}
        options.json.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of conversations, searched to any depth")
    parser.add_argument("--text", action="store_true", help="also the words, where the truth has them: WER and cpWER")
    parser.add_argument("--sherpa", type=Path, help="also sherpa-onnx: `peers`, or a folder with its two networks")
    parser.add_argument("--bare", action="store_true", help="also the bare engine's words by the turns of --sherpa")
    parser.add_argument("--told", action="store_true", help="tell this service the true number of speakers")
    parser.add_argument("--cache", type=Path, help="keep transcripts and what the peers find in this folder")
    parser.add_argument("--jobs", type=int, default=1, help="how many conversations at once")
    parser.add_argument("--each", action="store_true", help="also a line for each conversation")
    parser.add_argument("--json", type=Path, help="also write all figures into this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
