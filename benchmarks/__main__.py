"""What the service adds to its engine, how soon it begins, and whether its event loop ever stalls."""

import asyncio
import logging
import secrets
import statistics
import tempfile
import time
import wave
from pathlib import Path

import av
import numpy as np
import structlog
from faster_whisper import BatchedInferencePipeline, WhisperModel
from nats import connect
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from app.client import Client
from app.engines import bundled
from app.settings import Settings
from benchmarks.worker import LoopWatch, worker
from schemas import subjects
from schemas.progress import ProgressEvent, State
from schemas.transcription import TranscriptionTask
from schemas.wire import Kind, Priority

SPEECH = Path(__file__).parents[1] / "app/cli/demo/two_readers.flac"
REPEATS = 20  # of the recording: ten minutes
ROUNDS = 2
STARTS = 100
RATE = 16_000  # Hz


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        long, short = Path(folder) / "long.wav", Path(folder) / "short.wav"
        write(long, np.tile(read(SPEECH), REPEATS))
        write(short, np.zeros(RATE // 10, dtype=np.int16))
        asyncio.run(measure(long, short))


async def measure(long: Path, short: Path) -> None:
    """Measure with one worker, the bare engine and the service in turns."""
    model = WhisperModel(str(bundled.folder()), device="cpu", compute_type="int8", cpu_threads=1)
    pipeline = BatchedInferencePipeline(model)
    bare: list[float] = []
    served: list[float] = []
    async with worker() as settings, Client(settings) as client, LoopWatch() as loop:
        await serve(client, long)  # the first time loads code and caches
        await asyncio.to_thread(transcribe, pipeline, long)
        loop.longest = 0.0
        for _ in range(ROUNDS):
            served.append(await serve(client, long, diarize=False))
            in_service = loop.longest
            bare.append(await asyncio.to_thread(transcribe, pipeline, long))
            loop.longest = in_service  # the bare engine holds the interpreter's lock in this process
        await serve(client, long, diarize=True)
        delays = await starts(settings, short)
    bare_time, served_time = statistics.median(bare), statistics.median(served)
    print(f"bare batched engine, {REPEATS} x the demo recording  {bare_time:8.2f} s")
    print(f"service, publish to completed                {served_time:8.2f} s")
    print(f"service / bare engine                        {served_time / bare_time:8.3f}")
    print(f"publish to first running, median             {1000 * statistics.median(delays):8.1f} ms")
    print(f"publish to first running, 99 of 100          {1000 * sorted(delays)[-2]:8.1f} ms")
    print(f"longest gap of the event loop                {1000 * loop.longest:8.1f} ms")


def transcribe(pipeline: BatchedInferencePipeline, recording: Path) -> float:
    """Seconds that faster-whisper's own batched pipeline takes with the service's options."""
    began = time.perf_counter()
    segments, _ = pipeline.transcribe(str(recording), batch_size=4, beam_size=5, word_timestamps=True)
    list(segments)
    return time.perf_counter() - began


async def serve(client: Client, recording: Path, *, diarize: bool = False) -> float:
    """Seconds from publish to completed."""
    stored = await client.create_transcription_task(recording, diarize=diarize)
    began = time.perf_counter()
    async for event in client.follow(stored):
        last = event
    if not isinstance(last, ProgressEvent) or last.state is not State.COMPLETED:
        raise RuntimeError(last)
    return time.perf_counter() - began


async def starts(settings: Settings, recording: Path) -> list[float]:
    """Seconds from publish to the first `running` event, many times."""
    nats = await connect(settings.nats_url)
    await (await nats.jetstream().object_store("audio")).put("short.wav", await asyncio.to_thread(recording.read_bytes))
    delays = [await starts_after(nats, "short.wav") for _ in range(STARTS)]
    await nats.close()
    return delays


async def starts_after(nats: Nats, recording_id: str) -> float:
    """Seconds from publish to the first `running` event, on an idle worker."""
    task_id = secrets.token_hex(8)
    running: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def heard(message: Msg) -> None:
        state = ProgressEvent.model_validate_json(message.data).state
        if state is State.RUNNING and not running.done():
            running.set_result(time.perf_counter())
        if state.ended:
            ended.set()

    subscription = await nats.subscribe(subjects.progress(task_id), cb=heard)
    await nats.flush()
    task = TranscriptionTask(task_id=task_id, audio_file_id=recording_id, user_id=0)
    began = time.perf_counter()
    await nats.jetstream().publish(subjects.tasks(Kind.TRANSCRIPTION, Priority.NORMAL), task.model_dump_json().encode())
    seconds = await running - began
    await ended.wait()
    await subscription.unsubscribe()
    return seconds


def read(recording: Path) -> np.ndarray:
    """Samples of the recording, 16 bit."""
    with av.open(str(recording)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def write(path: Path, samples: np.ndarray) -> None:
    """A wav file of samples at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


if __name__ == "__main__":
    main()
