"""Live audio: recordings played in real time, one and many at once, and the same recordings as files."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from natscribe import Client
from natscribe.schemas.live import Partial
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.settings import Settings

from benchmarks.caller import Caller
from benchmarks.kinds import Kind, folder, kinds_in
from benchmarks.live_recovery import in_real_time, kills, recovery
from benchmarks.memory import MIB, MemoryWatch, processor_time
from benchmarks.report import Findings, Table, percent, ratio, seconds, whole
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from tests.truth.recordings import RATE, read
from tests.truth.words import Score, scored, words_without_match

ENOUGH_S = 3.0  # p95 of the finals, above which a machine has too many streams


@dataclass
class Played:
    """What a client received of one recording that it played, and how late, in seconds."""

    kind: Kind
    finals: list[float] = field(default_factory=list)  # from the last word of an utterance to its text
    partials: list[float] = field(default_factory=list)  # from the first word of an utterance to its first partial
    text: str = ""
    taken_back: int = 0  # stable words that a later partial does not have
    changed: int = 0  # stable words that the final text does not have
    stable: int = 0
    seconds: float = 0.0  # of sound

    @property
    def score(self) -> Score:
        """The errors of the text."""
        return scored(self.kind.words, [self.text])


@dataclass(frozen=True)
class Together:
    """Recordings that were played at the same time, or one after the other, with a worker of their own."""

    at_once: int
    played: Sequence[Played]
    processor: float  # seconds of processor time of the worker and its processes
    peak: int  # bytes of resident memory of the same

    def of(self, what: str, share: float) -> float:
        """A quantile of delays in seconds."""
        values = sorted(value for each in self.played for value in getattr(each, what))
        return values[min(int(share * len(values)), len(values) - 1)] if values else float("inf")

    @property
    def cores_a_stream(self) -> float:
        """Processor time for each second of audio."""
        return self.processor / sum(each.seconds for each in self.played)


async def measure(sizes: Sizes) -> Findings:
    """Play one recording after the other, then more and more at once; then transcribe all as files; then kill."""
    async with fresh() as stack:
        kinds = [each for each in kinds_in(folder(), stack.folder) if _one_language(each, sizes)]
        rows: list[Together] = []
        for count in sizes.live_streams:
            sizes.tell(f"live, {count} at once")
            rows.append(await _together(stack, kinds, count, sizes))
            if rows[-1].of("finals", 0.95) > ENOUGH_S:
                break
        most = max(rows, key=lambda row: len({played.kind.name for played in row.played})).played
        sizes.tell("the same recordings as files")
        files = await _as_files(stack, {each.kind.name: each.kind for each in most}.values())
        killed = [await recovery(stack, kind, sizes) for kind in kinds[: sizes.live_kills]]
    kept_up = [row.at_once for row in rows if row.of("finals", 0.95) <= ENOUGH_S]
    figures = {
        "live_final_p50": rows[0].of("finals", 0.5),
        "live_final_p95": rows[0].of("finals", 0.95),
        "live_partial_p50": rows[0].of("partials", 0.5),
        "live_streams_that_kept_up": max(kept_up, default=0),
        "live_errors": Score.pooled([each.score for each in most]).rate,
        "live_errors_as_files": Score.pooled([files[each.kind.name] for each in most]).rate,
        "live_text_after_a_kill_worst": max(each.text_after for each in killed),
    }
    return Findings([_delays(rows), _words(most, files), kills(killed)], figures)


def _one_language(kind: Kind, sizes: Sizes) -> bool:
    return not kind.calls and not kind.parts and len(kind.recordings) == 1 and (sizes.kinds is None or kind.words_count)


async def _together(stack: Stack, kinds: Sequence[Kind], count: int, sizes: Sizes) -> Together:
    """Play so many kinds at once; one alone is played for each of the first kinds."""
    async with serving(stack, cache_ttl=0, engine_parallel=0, live_streams=count) as child:
        before = processor_time(child.tree())
        async with MemoryWatch(child.tree) as watch:
            played = await _at_once(stack, kinds, count, sizes)
        return Together(count, played, processor_time(child.tree()) - before, watch.peak)


async def _at_once(stack: Stack, kinds: Sequence[Kind], count: int, sizes: Sizes) -> list[Played]:
    if count == 1:
        return [await _play(stack, kind, sizes) for kind in kinds[: sizes.live_alone]]
    chosen = [kinds[number % len(kinds)] for number in range(count)]
    return list(
        await asyncio.gather(*(_play(stack, kind, sizes, delay=number * 0.37) for number, kind in enumerate(chosen)))
    )


async def _play(stack: Stack, kind: Kind, sizes: Sizes, *, delay: float = 0.0) -> Played:
    """Publish a recording in real time, and note when its text comes."""
    await asyncio.sleep(delay)
    played, samples = Played(kind), read(kind.recordings[0].path)
    if sizes.live_seconds is not None:
        samples = samples[: round(sizes.live_seconds * RATE)]
    played.seconds = len(samples) / RATE
    async with Client(Settings(nats_url=stack.nats_url)) as client, client.live(user_id=1) as live:
        began = time.perf_counter()
        heard = asyncio.create_task(_listen(live.events(), played, began))
        async for frame in in_real_time(samples, began):
            await live.send(frame)
        await live.end()
        played.text = (await live.result()).text
        await heard
    return played


async def _listen(events: AsyncIterator[object], played: Played, began: float) -> None:
    first, stable = dict[float, float](), list[str]()  # when the first partial of an utterance came, by its start
    at = -1.0
    async for event in events:
        now = time.perf_counter() - began
        match event:
            case Partial():
                words = event.stable.split()
                if event.start == at:
                    played.taken_back += words[: len(stable)] != stable
                at, stable = event.start, words
                first.setdefault(event.start, now)
            case SegmentsEvent() if event.segments:
                played.finals.append(now - event.segments[-1].end)
                begun = [start for start in first if start < event.segments[-1].end]
                for start in begun:
                    said = next((each.start for each in event.segments if each.end > start), start)
                    played.partials.append(first.pop(start) - said)
                if begun:
                    played.stable += len(stable)
                    if stable:
                        played.changed += words_without_match(
                            " ".join(stable), " ".join(each.text for each in event.segments)
                        )


async def _as_files(stack: Stack, kinds: Iterable[Kind]) -> dict[str, Score]:
    found = {}
    async with serving(stack, cache_ttl=0, engine_parallel=0):
        caller = Caller(stack.nats)
        for kind in kinds:
            outcome = await caller.run(await caller.upload(Path(kind.recordings[0].path)))
            found[kind.name] = scored(kind.words, [str((await caller.result(outcome))["text"])])
    return found


def _delays(rows: Sequence[Together]) -> Table:
    return Table(
        "Live audio: seconds from a word to its text",
        (
            *("streams at once", "final p50", "final p95", "first partial p50", "p95"),
            *("stable words", "taken back", "changed", "cores a stream", "MiB in all"),
        ),
        [
            (
                str(row.at_once),
                *(seconds(row.of(what, share)) for what in ("finals", "partials") for share in (0.5, 0.95)),
                whole(sum(each.stable for each in row.played)),
                whole(sum(each.taken_back for each in row.played)),
                percent(sum(each.changed for each in row.played) / max(sum(each.stable for each in row.played), 1)),
                ratio(row.cores_a_stream),
                whole(row.peak / MIB),
            )
            for row in rows
        ],
        [
            "Final: from the end of an utterance's last word. First partial: from the beginning of its first word.",
            "Taken back: partials that lack a stable word of an earlier one.",
            "Changed: stable words that the final text has otherwise, marks and capitals aside.",
            f"More streams are tried until one of 20 finals takes more than {ENOUGH_S:g} s.",
            "Cores a stream: processor time of the worker and its processes, for each second of audio.",
            "MiB: their resident memory, summed, highest of ten samples a second.",
        ],
    )


def _words(played: Sequence[Played], files: dict[str, Score]) -> Table:
    rows = [(each.kind.name, percent(each.score.rate), percent(files[each.kind.name].rate)) for each in played]
    whole_of = [Score.pooled([each.score for each in played]), Score.pooled([files[each.kind.name] for each in played])]
    return Table(
        "Live audio: words wrong, beside the same recordings as files",
        ("", "live", "as a file"),
        [*rows, ("all", *(percent(each.rate) for each in whole_of))],
    )
