"""Has a Wyoming server transcribe files: `python -m benchmarks.peers.wyoming_client tcp://127.0.0.1:10300`."""

import asyncio
import sys
import wave

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient

from benchmarks.peers.serving import serve

FRAMES = 16_000  # a message


async def _served(path: str) -> str:
    async with AsyncClient.from_uri(sys.argv[1]) as client:
        await client.write_event(Transcribe().event())
        await _send(client, path)
        while (event := await client.read_event()) is not None:
            if Transcript.is_type(event.type):
                return str(Transcript.from_event(event).text)
    raise ConnectionError


async def _send(client: AsyncClient, path: str) -> None:
    with wave.open(path, "rb") as file:
        form = {"rate": file.getframerate(), "width": file.getsampwidth(), "channels": file.getnchannels()}
        await client.write_event(AudioStart(**form).event())
        while frames := file.readframes(FRAMES):
            await client.write_event(AudioChunk(audio=frames, **form).event())
    await client.write_event(AudioStop().event())


if __name__ == "__main__":
    asyncio.run(serve(_served))
