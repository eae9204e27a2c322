"""Who says what in conversations, compared with sherpa-onnx and with the bare engine with the turns of sherpa-onnx."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from natscribe.schemas.wire import Kind

from benchmarks import kinds
from benchmarks.client import TimedClient
from benchmarks.programs import SHERPA, attempt, bare_engines, sherpa
from benchmarks.report import Findings
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.spread import Scored, scored, spread, table
from benchmarks.stack import ROOT, Stack, fresh
from tests.truth.attributed import by_the_turns
from tests.truth.conversations import Conversation, conversations_in
from tests.truth.recordings import DEMO, RATE, channels_of, write

REPOSITORY = ROOT / "tests/recordings/talk"
OURS, BARE = "this service", "bare engine, batched, with sherpa-onnx"
NOTES = (
    "Each figure: all conversations together; their mean; the worst one; in percent. {where}",
    "Under another speaker: time, less 0.25 s on each side of a change. DER: the diarization error rate, of all time.",
    "WER: word errors without speakers. cpWER: a word under the wrong name is wrong, too.",
    "The bare engine's words are given to the turn of sherpa-onnx that covers them, else to the nearest.",
)


class _Segment(TypedDict):
    start: float
    end: float
    speaker: str
    text: str


@dataclass(frozen=True)
class Audio:
    """A conversation as a WAV file, which each engine can read."""

    conversation: Conversation
    path: Path
    seconds: float


async def measure(sizes: Sizes) -> Findings:
    """Measure the service, then the peers, where they are installed."""
    async with fresh() as stack:
        audios = _audios(stack.folder, sizes)
        rows = {OURS: await _ours(stack, audios, sizes)}
        failures: list[str] = []
        if sizes.peers:
            peers: dict[str, list[Scored]] = defaultdict(list)
            failures = await attempt(SHERPA, lambda: _peers(stack, audios, peers, sizes))
            rows |= {} if failures else peers
    own = _folder() == REPOSITORY
    where = "The repository's own conversations." if own else "A larger set than the repository's."
    title = f"Who says what, {len(audios)} conversations, {sum(audio.seconds for audio in audios) / 60:.0f} minutes"
    notes = [note.format(where=where) for note in NOTES] + failures
    return Findings([table(title, rows, notes)], _figures(rows[OURS]))


def _folder() -> Path:
    larger = kinds.folder() / "talk"
    return larger if larger.is_dir() else REPOSITORY


def _audios(scratch: Path, sizes: Sizes) -> list[Audio]:
    conversations = sorted(conversations_in(_folder()), key=lambda conversation: conversation.path.stat().st_size)
    return [_audio(conversation, scratch) for conversation in conversations[: sizes.conversations]]


def _audio(conversation: Conversation, scratch: Path) -> Audio:
    (samples,) = channels_of(conversation.path)
    path = scratch / f"{conversation.name}.wav"
    write(path, [samples])
    return Audio(conversation, path, len(samples) / RATE)


async def _ours(stack: Stack, audios: list[Audio], sizes: Sizes) -> list[Scored]:
    client, scores = TimedClient(stack.nats), []
    async with serving(stack, cache_ttl=0):
        await client.process(DEMO, kind=Kind.DIARIZATION)  # loads the networks
        for audio in audios:
            sizes.log(f"{OURS}: {audio.path.stem}")
            taken, result = await client.process(audio.path, kind=Kind.DIARIZATION)
            texts = None
            if audio.conversation.has_words:
                _, both = await client.process(audio.path, diarize=True)
                texts = [(segment["speaker"], segment["text"]) for segment in _segments(both)]
            scores.append(scored(audio.conversation, audio.seconds, _turns(_segments(result)), texts, taken))
    return scores


def _segments(result: dict[str, object]) -> list[_Segment]:
    return cast("list[_Segment]", result["segments"])


def _turns(segments: list[_Segment]) -> list[tuple[float, float, str]]:
    return [(segment["start"], segment["end"], segment["speaker"]) for segment in segments]


async def _peers(stack: Stack, audios: list[Audio], rows: dict[str, list[Scored]], sizes: Sizes) -> None:
    """Add the scores of the peers."""
    async with (
        sherpa(stack) as diarization,
        bare_engines(stack, "batched", "--multilingual", "--words") as (bare,),
    ):
        for audio in audios:
            sizes.log(f"peers: {audio.path.stem}")
            output = await diarization.process(audio.path)
            turns = _turns(json.loads(output.text))
            rows[SHERPA].append(scored(audio.conversation, audio.seconds, turns, taken=output.seconds))
            if audio.conversation.has_words:
                words = json.loads((await bare.process(audio.path)).text)
                rows[BARE].append(scored(audio.conversation, audio.seconds, turns, by_the_turns(words, turns)))


def _figures(scores: list[Scored]) -> dict[str, float]:
    figures = {
        "conversations": float(len(scores)),
        "conversations_time_over_length": sum(score.taken or 0.0 for score in scores)
        / sum(score.seconds for score in scores),
    }
    names = {"under another speaker": "time_under_another", "cpWER - WER": "cpwer_beyond_wer"}
    for figure, name in names.items():
        if shares := spread(scores, figure):
            figures |= {name: shares.pooled, f"{name}_worst": shares.worst}
    return figures
