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
from benchmarks.peers.serving import serve

DEFAULTS = Settings.model_fields
BATCH, BEAM = (int(DEFAULTS[name].default) for name in ("engine_batch", "engine_beam"))


def main() -> None:
    """Load the model, then transcribe each named file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("way", choices=["batched", "sequential"])
    parser.add_argument("--multilingual", action="store_true", help="detect the language of each window")
    parser.add_argument("--words", action="store_true", help="write a list of [start, end, word] instead of the text")
    arguments = parser.parse_args()
    model = WhisperModel(os.environ["MODEL"], device="cpu", compute_type="int8", cpu_threads=1)
    pipeline = BatchedInferencePipeline(model)
    options = {"beam_size": BEAM, "multilingual": arguments.multilingual, "word_timestamps": arguments.words}

    async def transcribe(path: str) -> str:
        if arguments.way == "batched":
            segments, _ = pipeline.transcribe(path, batch_size=BATCH, **options)
        else:
            segments, _ = model.transcribe(path, vad_filter=True, **options)
        return _words(segments) if arguments.words else " ".join(segment.text.strip() for segment in segments)

    asyncio.run(serve(transcribe))


def _words(segments: Iterable[Segment]) -> str:
    words = [word for segment in segments for word in segment.words or ()]
    return json.dumps([(float(word.start), float(word.end), word.word) for word in words])


if __name__ == "__main__":
    main()
