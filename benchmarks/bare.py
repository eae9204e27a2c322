"""The engine without the service, as a program that reads a path a line, and writes its text and times.

`python -m benchmarks.bare --help` shows its options.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Iterable

from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.transcribe import Segment

from app.settings import Settings
from benchmarks.peers.talk import answer

USUAL = Settings.model_fields
BATCH, BEAM = (int(USUAL[name].default) for name in ("engine_batch", "engine_beam"))  # the defaults of the service


def main() -> None:
    """Load the model, then transcribe each named file."""
    asked = _arguments()
    model = WhisperModel(os.environ["MODEL"], device="cpu", compute_type="int8", cpu_threads=asked.threads)
    pipeline = BatchedInferencePipeline(model)

    options = {"beam_size": asked.beam, "multilingual": asked.multilingual, "word_timestamps": asked.words}
    written = _words if asked.words else _text

    async def batched(path: str) -> str:
        segments, _ = pipeline.transcribe(path, batch_size=asked.batch, **options)
        return written(segments)

    async def sequential(path: str) -> str:
        segments, _ = model.transcribe(path, vad_filter=True, **options)
        return written(segments)

    asyncio.run(answer(batched if asked.how == "batched" else sequential))


def _text(segments: Iterable[Segment]) -> str:
    return " ".join(segment.text.strip() for segment in segments)


def _words(segments: Iterable[Segment]) -> str:
    words = [word for segment in segments for word in segment.words or ()]
    return json.dumps([(float(word.start), float(word.end), word.word) for word in words])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("how", choices=["batched", "sequential"])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--beam", type=int, default=BEAM)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--multilingual", action="store_true", help="have each window its own language")
    parser.add_argument("--words", action="store_true", help="write a list of [start, end, word] instead of the text")
    return parser.parse_args()


if __name__ == "__main__":
    main()
