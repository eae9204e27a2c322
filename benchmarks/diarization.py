"""Time and errors of diarization, alone and beside the transcription."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import cast

from natscribe.schemas.wire import Kind

from benchmarks.caller import Caller
from benchmarks.peers.environment import PEERS_PYTHON, installed
from benchmarks.report import Findings, Table, percent, ratio, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import MeasurementError, Stack, fresh, python
from benchmarks.talkers import talking
from tests.truth.accuracy import diarization_error_rate
from tests.truth.recordings import DEMO, RATE, read, speech, write

OURS, SHERPA = "this service", "sherpa-onnx as it comes"
Turns = Iterable[Mapping[str, object]]


@dataclass
class Row:
    """Time of one way to diarize, and its `errors` on the demo."""

    name: str
    seconds: float | None = None
    errors: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Material:
    """A long recording for the time, the demo for the errors; in seconds."""

    long: Path
    long_seconds: float
    demo: Path
    demo_seconds: float


async def measure(sizes: Sizes) -> Findings:
    """Measure the service, then sherpa-onnx with the same networks."""
    async with fresh() as stack:
        material = _material(stack.folder, sizes.speech_minutes)
        ours, alone, both = await _ours(stack, material, sizes)
        rows = [ours, *([await _sherpa(stack, material, sizes)] if sizes.peers else [])]
    figures = {
        "diarization_real_time_factor": (ours.seconds or 0.0) / material.long_seconds,
        "diarization_error_rate": ours.errors or 0.0,
        "both_over_transcription": both / alone,
    }
    return Findings([_table(rows, material), _together(alone, ours.seconds or 0.0, both)], figures)


def _material(folder: Path, minutes: int) -> Material:
    long, samples, demo = speech(folder / "speech.wav", minutes), read(DEMO), folder / "demo.wav"
    write(demo, [samples])
    return Material(long.path, long.seconds, demo, len(samples) / RATE)


async def _ours(stack: Stack, material: Material, sizes: Sizes) -> tuple[Row, float, float]:
    """The row, seconds of transcription alone, and of both in one task."""
    caller = Caller(stack.nats)
    async with serving(stack, cache_ttl=0):
        demo, long = await caller.upload(material.demo), await caller.upload(material.long)
        result = await caller.result(await caller.run(demo, kind=Kind.DIARIZATION))
        await caller.run(demo)
        sizes.tell(f"{OURS}: speakers")
        speakers = (await caller.run(long, kind=Kind.DIARIZATION)).ended
        sizes.tell(f"{OURS}: text")
        text = (await caller.run(long)).ended
        sizes.tell(f"{OURS}: both")
        both = (await caller.run(long, diarize=True)).ended
    errors = diarization_error_rate(cast("Turns", result["segments"]), material.demo_seconds)
    return Row(OURS, speakers, errors), text, both


async def _sherpa(stack: Stack, material: Material, sizes: Sizes) -> Row:
    row = Row(SHERPA)
    if not installed():
        row.failure = "not installed here"
        return row
    sizes.tell(SHERPA)
    command = python("benchmarks.peers.sherpa_diarization", interpreter=PEERS_PYTHON)
    weights = {"WEIGHTS": str(resources.files("app.engines") / "weights")}
    try:
        async with talking(stack, command, weights) as talker:
            turns = json.loads((await talker.transcribe(material.demo)).text)
            row.errors = diarization_error_rate(turns, material.demo_seconds)
            row.seconds = (await talker.transcribe(material.long)).seconds
    except (MeasurementError, TimeoutError) as error:
        row.failure = str(error) or "it did not become ready"
    return row


def _table(rows: list[Row], material: Material) -> Table:
    return Table(
        f"Who speaks when, {material.long_seconds / 60:.1f} minutes, one thread",
        ("", "seconds", "real-time factor", "diarization error rate"),
        [
            (
                row.name,
                seconds(row.seconds),
                ratio(row.seconds and row.seconds / material.long_seconds),
                percent(row.errors),
            )
            for row in rows
        ],
        [
            "Diarization error rate: on the demo, which has two speakers; no collar.",
            *(f"{row.name} was not measured: {row.failure}." for row in rows if row.failure),
        ],
    )


def _together(text: float, speakers: float, both: float) -> Table:
    return Table(
        "Text and speakers in one task",
        ("", "seconds", "/ text alone"),
        [
            ("text alone", seconds(text), ratio(1.0)),
            ("one after the other", seconds(text + speakers), ratio((text + speakers) / text)),
            ("both in one task", seconds(both), ratio(both / text)),
        ],
    )
