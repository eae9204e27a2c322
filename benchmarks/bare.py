"""The engine without a service, as a program: `python -m benchmarks.bare batched|sequential`, then a path a line."""

import asyncio
import os
import sys

from faster_whisper import BatchedInferencePipeline, WhisperModel

from benchmarks.peers.talk import answer

BATCH = 4  # windows, as the service has
BEAM = 5  # as the service and faster-whisper have


def main() -> None:
    """Load the model, then transcribe what is named."""
    model = WhisperModel(os.environ["MODEL"], device="cpu", compute_type="int8", cpu_threads=1)
    pipeline = BatchedInferencePipeline(model)

    async def batched(path: str) -> str:
        segments, _ = pipeline.transcribe(path, batch_size=BATCH, beam_size=BEAM, word_timestamps=True)
        return " ".join(segment.text.strip() for segment in segments)

    async def sequential(path: str) -> str:
        segments, _ = model.transcribe(path, beam_size=BEAM)
        return " ".join(segment.text.strip() for segment in segments)

    asyncio.run(answer(batched if sys.argv[1] == "batched" else sequential))


if __name__ == "__main__":
    main()
