"""The engine without a service, as a program: it transcribes a path a line; `python -m benchmarks.bare --help`."""

import argparse
import asyncio
import os

from faster_whisper import BatchedInferencePipeline, WhisperModel

from app.settings import Settings
from benchmarks.peers.talk import answer

USUAL = Settings.model_fields
BATCH, BEAM = (int(USUAL[name].default) for name in ("engine_batch", "engine_beam"))  # the defaults of the service


def main() -> None:
    """Load the model, then transcribe each named file."""
    asked = _arguments()
    model = WhisperModel(os.environ["MODEL"], device="cpu", compute_type="int8", cpu_threads=asked.threads)
    pipeline = BatchedInferencePipeline(model)

    options = {"beam_size": asked.beam, "multilingual": asked.multilingual}

    async def batched(path: str) -> str:
        segments, _ = pipeline.transcribe(path, batch_size=asked.batch, **options)
        return " ".join(segment.text.strip() for segment in segments)

    async def sequential(path: str) -> str:
        segments, _ = model.transcribe(path, vad_filter=True, **options)
        return " ".join(segment.text.strip() for segment in segments)

    asyncio.run(answer(batched if asked.how == "batched" else sequential))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("how", choices=["batched", "sequential"])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--beam", type=int, default=BEAM)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--multilingual", action="store_true", help="have each window its own language")
    return parser.parse_args()


if __name__ == "__main__":
    main()
