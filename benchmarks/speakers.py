"""Who says what in conversations, beside sherpa-onnx and beside the bare engine with the turns of sherpa-onnx."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypedDict, cast

from natscribe.schemas.wire import Kind

from benchmarks import kinds
from benchmarks.caller import Caller, Outcome
from benchmarks.peers.environment import PEERS_PYTHON, installed
from benchmarks.report import Findings, Table
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.spread import Scored, spread, table
from benchmarks.stack import ROOT, MeasurementError, Stack, fresh, python
from benchmarks.talkers import bare_engines, talking
from tests.truth.attributed import Turns, by_the_turns, time_errors, word_errors
from tests.truth.conversations import Conversation, conversations_in
from tests.truth.recordings import DEMO, RATE, channels_of, write

REPOSITORY = ROOT / "tests/recordings/talk"
OURS, SHERPA, BARE = "this service", "sherpa-onnx as it comes", "bare engine, batched, with sherpa-onnx"
NOTES = (
    "Each figure: all conversations together; their mean; the worst one; in percent. {where}",
    "Under another speaker: time, less 0.25 s on each side of a change. DER: the diarization error rate, of all time.",
    "WER: word errors without speakers. cpWER: a word under the wrong name is wrong, too.",
    "The bare engine's words are given to the turn of sherpa-onnx that covers them, else to the nearest.",
)


class _Stretch(TypedDict):
    start: float
    end: float
    speaker: str
    text: str


@dataclass(frozen=True)
class Sound:
    """A conversation as a WAV file, which each way can read."""

    conversation: Conversation
    path: Path
    seconds: float

    def scored(
        self, turns: Turns, texts: Sequence[tuple[str | None, str]] | None = None, taken: float | None = None
    ) -> Scored:
        """Compare what was heard with the truth."""
        said, found = self.conversation.said, list(turns)
        words = None if texts is None else word_errors(said, texts)
        speakers = len({speaker for _, _, speaker in found})
        time = time_errors(said, found, self.seconds)
        return Scored(self.path.stem, self.seconds, time, self.conversation.speakers, speakers, words, taken)


async def measure(sizes: Sizes) -> Findings:
    """Measure the service, then the peers, where they are installed."""
    async with fresh() as stack:
        sounds = _sounds(stack.folder, sizes)
        rows = {OURS: await _ours(stack, sounds, sizes)}
        failures = await _peers(stack, sounds, rows, sizes) if sizes.peers else []
    own = _folder() == REPOSITORY
    where = "The repository's own conversations." if own else "A larger set than the repository's."
    notes = [note.format(where=where) for note in NOTES] + failures
    return Findings([_table(rows, sounds, notes)], _figures(rows[OURS]))


def _folder() -> Path:
    larger = kinds.folder() / "talk"
    return larger if larger.is_dir() else REPOSITORY


def _sounds(scratch: Path, sizes: Sizes) -> list[Sound]:
    found = sorted(conversations_in(_folder()), key=lambda each: each.path.stat().st_size)
    return [_sound(each, scratch) for each in found[: sizes.conversations]]


def _sound(conversation: Conversation, scratch: Path) -> Sound:
    (samples,) = channels_of(conversation.path)
    path = scratch / f"{conversation.name}.wav"
    write(path, [samples])
    return Sound(conversation, path, len(samples) / RATE)


async def _ours(stack: Stack, sounds: list[Sound], sizes: Sizes) -> list[Scored]:
    caller, found = Caller(stack.nats), []
    async with serving(stack, cache_ttl=0):
        await caller.run(await caller.upload(DEMO), kind=Kind.DIARIZATION)  # has the networks loaded
        for sound in sounds:
            sizes.tell(f"{OURS}: {sound.path.stem}")
            uploaded = await caller.upload(sound.path)
            ran = await caller.run(uploaded, kind=Kind.DIARIZATION)
            turns, texts = _turns(await _segments(caller, ran)), None
            if sound.conversation.has_words:
                both = await _segments(caller, await caller.run(uploaded, diarize=True))
                texts = [(each["speaker"], each["text"]) for each in both]
            found.append(sound.scored(turns, texts, ran.ended))
    return found


async def _segments(caller: Caller, ran: Outcome) -> list[_Stretch]:
    return cast("list[_Stretch]", (await caller.result(ran))["segments"])


def _turns(stretches: list[_Stretch]) -> list[tuple[float, float, str]]:
    return [(each["start"], each["end"], each["speaker"]) for each in stretches]


async def _peers(stack: Stack, sounds: list[Sound], rows: dict[str, list[Scored]], sizes: Sizes) -> list[str]:
    """Add the peers' rows; return why one is missing."""
    if not installed():
        return [f"{SHERPA} was not measured: not installed here."]
    command = python("benchmarks.peers.sherpa_diarization", interpreter=PEERS_PYTHON)
    weights = {"WEIGHTS": str(resources.files("app.engines") / "weights")}
    rows[SHERPA], rows[BARE] = [], []
    try:
        async with (
            talking(stack, command, weights) as sherpa,
            bare_engines(stack, "batched", "--multilingual", "--words") as (bare,),
        ):
            for sound in sounds:
                sizes.tell(f"peers: {sound.path.stem}")
                answer = await sherpa.transcribe(sound.path)
                turns = _turns(json.loads(answer.text))
                rows[SHERPA].append(sound.scored(turns, taken=answer.seconds))
                if sound.conversation.has_words:
                    words = json.loads((await bare.transcribe(sound.path)).text)
                    rows[BARE].append(sound.scored(turns, by_the_turns(words, turns)))
    except (MeasurementError, TimeoutError) as error:
        del rows[SHERPA], rows[BARE]
        return [f"{SHERPA} was not measured: {str(error) or 'it did not become ready'}."]
    return []


def _table(rows: dict[str, list[Scored]], sounds: list[Sound], notes: list[str]) -> Table:
    minutes = sum(sound.seconds for sound in sounds) / 60
    title = f"Who says what, {len(sounds)} conversations, {minutes:.0f} minutes"
    return table(title, {name: scores for name, scores in rows.items() if scores}, notes)


def _figures(scores: list[Scored]) -> dict[str, float]:
    found = {"conversations": float(len(scores))}
    found["conversations_speakers_right"] = float(sum(each.found == each.speakers for each in scores))
    found["conversations_time_over_length"] = sum(each.taken or 0.0 for each in scores) / sum(
        each.seconds for each in scores
    )
    names = {"under another speaker": "time_under_another", "cpWER": "cpwer", "cpWER - WER": "cpwer_beyond_wer"}
    for figure, name in names.items():
        if shares := spread(scores, figure):
            found |= {name: shares.pooled, f"{name}_mean": shares.mean, f"{name}_worst": shares.worst}
    return found
