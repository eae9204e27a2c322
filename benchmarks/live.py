"""Live audio: recordings played in real time, one and many at once, and the same recordings as files."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from natscribe.schemas.live import Partial
from natscribe.schemas.transcription import SegmentsEvent

from benchmarks.client import TimedClient
from benchmarks.kinds import RecordingKind, folder, kinds_in
from benchmarks.live_recovery import kills, recovery
from benchmarks.memory import MIB, MemoryWatch, processor_time
from benchmarks.playback import play
from benchmarks.report import Findings, Table, percent, ratio, seconds, whole
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from tests.truth.recordings import RATE, read
from tests.truth.words import Score, scored, words_without_match

ENOUGH_S = 3.0  # p95 of the finals, above which a machine has too many streams
STAGGER_S = 0.37  # between the starts of streams


@dataclass
class Played:
    """What a client received of one recording that it played, and how late, in seconds."""

    kind: RecordingKind
    seconds: float  # of audio
    finals: list[float] = field(default_factory=list)  # from the last word of an utterance to its text
    partials: list[float] = field(default_factory=list)  # from the first word of an utterance to its first partial
    text: str = ""
    taken_back: int = 0  # partials that lack stable words of an earlier one
    changed: int = 0  # stable words that the final text does not have
    stable: int = 0

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
    peak: float  # bytes of resident memory of the same

    def quantile(self, delays: str, share: float) -> float:
        """A quantile of delays in seconds."""
        values = sorted(value for played in self.played for value in getattr(played, delays))
        return values[min(int(share * len(values)), len(values) - 1)] if values else float("inf")

    def total(self, count: str) -> float:
        """A number of all recordings together."""
        return sum((float(getattr(played, count)) for played in self.played), 0.0)


async def measure(sizes: Sizes) -> Findings:
    """Play one recording after the other, then more and more at once; then transcribe all as files; then kill."""
    async with fresh() as stack:
        kinds = [kind for kind in kinds_in(folder(), stack.folder) if _of_one_language(kind, sizes)]
        rows: list[Together] = []
        for count in sizes.live_streams:
            sizes.log(f"live, {count} at once")
            rows.append(await _together(stack, kinds, count, sizes))
            if rows[-1].quantile("finals", 0.95) > ENOUGH_S:
                break
        most = max(rows, key=lambda row: len({played.kind.name for played in row.played})).played
        sizes.log("the same recordings as files")
        files = await _as_files(stack, {played.kind.name: played.kind for played in most}.values())
        killed = [await recovery(stack, kind, sizes) for kind in kinds[: sizes.live_kills]]
    kept_up = [row.at_once for row in rows if row.quantile("finals", 0.95) <= ENOUGH_S]
    live, as_files = _pooled(most, files)
    figures = {
        "live_final_p50": rows[0].quantile("finals", 0.5),
        "live_final_p95": rows[0].quantile("finals", 0.95),
        "live_streams_that_kept_up": max(kept_up, default=0),
        "live_errors": live.rate,
        "live_errors_as_files": as_files.rate,
        "live_text_after_a_kill_worst": max(row.text_after for row in killed),
    }
    return Findings([_delays(rows), _words(most, files), kills(killed)], figures)


def _of_one_language(kind: RecordingKind, sizes: Sizes) -> bool:
    is_plain = len(kind.recordings) == 1 and not (kind.calls or kind.several_languages)
    return is_plain and (sizes.kinds is None or kind.words_count)


async def _together(stack: Stack, kinds: Sequence[RecordingKind], count: int, sizes: Sizes) -> Together:
    """Play this number of kinds at once; each of the first kinds is also played alone."""
    async with serving(stack, cache_ttl=0, engine_parallel=0, live_streams=count) as child:
        before = processor_time(child.tree())
        async with MemoryWatch(child.tree) as watch:
            if count == 1:
                played = [await _play(stack, kind, sizes) for kind in kinds[: sizes.live_alone]]
            else:
                streams = [(kinds[number % len(kinds)], number * STAGGER_S) for number in range(count)]
                played = await asyncio.gather(*(_play(stack, kind, sizes, delay=delay) for kind, delay in streams))
        return Together(count, played, processor_time(child.tree()) - before, watch.peak)


async def _play(stack: Stack, kind: RecordingKind, sizes: Sizes, *, delay: float = 0.0) -> Played:
    """Publish a recording in real time, and note when its text comes."""
    await asyncio.sleep(delay)
    samples = read(kind.recordings[0].path)
    if sizes.live_seconds is not None:
        samples = samples[: round(sizes.live_seconds * RATE)]
    played = Played(kind, len(samples) / RATE)
    played.text = await play(stack.nats_url, samples, _Follower(played).follow)
    return played


class _Follower:
    """Notes the delays of the events of a live task, and how stable its partial results are."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self._first = dict[float, float]()  # when the first partial of an utterance came, by its start
        self._stable = list[str]()  # words of the latest partial
        self._start = -1.0  # of its utterance

    async def follow(self, events: AsyncIterator[object], began: float) -> None:
        async for event in events:
            now = time.perf_counter() - began
            match event:
                case Partial():
                    self._partial(event, now)
                case SegmentsEvent() if event.segments:
                    self._segments(event, now)

    def _partial(self, event: Partial, now: float) -> None:
        words = event.stable.split()
        if event.start == self._start:
            self._played.taken_back += words[: len(self._stable)] != self._stable
        self._start, self._stable = event.start, words
        self._first.setdefault(event.start, now)

    def _segments(self, event: SegmentsEvent, now: float) -> None:
        played, end = self._played, event.segments[-1].end
        played.finals.append(now - end)
        starts = [start for start in self._first if start < end]
        for start in starts:
            first_word = next((segment.start for segment in event.segments if segment.end > start), start)
            played.partials.append(self._first.pop(start) - first_word)
        if starts and self._stable:
            played.stable += len(self._stable)
            text = " ".join(segment.text for segment in event.segments)
            played.changed += words_without_match(" ".join(self._stable), text)


async def _as_files(stack: Stack, kinds: Iterable[RecordingKind]) -> dict[str, Score]:
    async with serving(stack, cache_ttl=0, engine_parallel=0):
        client = TimedClient(stack.nats)
        results = {kind.name: (kind, (await client.process(kind.recordings[0].path))[1]) for kind in kinds}
    return {name: scored(kind.words, [str(result["text"])]) for name, (kind, result) in results.items()}


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
                *(seconds(row.quantile(delays, share)) for delays in ("finals", "partials") for share in (0.5, 0.95)),
                *(whole(row.total(count)) for count in ("stable", "taken_back")),
                percent(row.total("changed") / max(row.total("stable"), 1)),
                ratio(row.processor / row.total("seconds")),
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


def _pooled(played: Sequence[Played], files: dict[str, Score]) -> tuple[Score, Score]:
    return Score.pooled([row.score for row in played]), Score.pooled([files[row.kind.name] for row in played])


def _words(played: Sequence[Played], files: dict[str, Score]) -> Table:
    rows = [(row.kind.name, row.score, files[row.kind.name]) for row in played]
    return Table(
        "Live audio: words wrong, compared with the same recordings as files",
        ("", "live", "as a file"),
        [
            (name, percent(live.rate), percent(file.rate))
            for name, live, file in [*rows, ("all", *_pooled(played, files))]
        ],
    )
