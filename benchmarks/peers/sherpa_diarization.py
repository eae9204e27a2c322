"""Diarizes with sherpa-onnx, unchanged, and the service's two networks: reads a path a line, writes turns as JSON."""

import asyncio
import json
import os
import wave
from pathlib import Path

import numpy as np
import sherpa_onnx

from benchmarks.peers.serving import serve

THRESHOLD = 0.5  # the distance of embeddings above which they are of two speakers


def main() -> None:
    """Load the networks, then diarize what is named."""
    pipeline = sherpa_onnx.OfflineSpeakerDiarization(_config(Path(os.environ["ENGINES"])))

    async def diarize(path: str) -> str:
        turns = pipeline.process(_samples(path)).sort_by_start_time()
        return json.dumps([{"start": turn.start, "end": turn.end, "speaker": str(turn.speaker)} for turn in turns])

    asyncio.run(serve(diarize))


def _config(engines: Path) -> sherpa_onnx.OfflineSpeakerDiarizationConfig:
    network = sherpa_onnx.OfflineSpeakerSegmentationPyannoteModelConfig(
        model=str(engines / "weights/segmentation-3.0.onnx")
    )
    return sherpa_onnx.OfflineSpeakerDiarizationConfig(
        segmentation=sherpa_onnx.OfflineSpeakerSegmentationModelConfig(pyannote=network, num_threads=1),
        embedding=sherpa_onnx.SpeakerEmbeddingExtractorConfig(
            model=str(engines / "diarization/campplus/campplus.onnx"), num_threads=1
        ),
        clustering=sherpa_onnx.FastClusteringConfig(num_clusters=-1, threshold=THRESHOLD),
    )


def _samples(path: str) -> np.ndarray:
    with wave.open(path, "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


if __name__ == "__main__":
    main()
