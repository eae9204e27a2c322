"""Print the turns of telephone calls that Asterisk connects by AudioSocket: `python audiosocket.py PORT [ulaw]`."""

import asyncio
import struct
import sys
from array import array
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from natscribe import Client, ClientError, Codec, Live, LiveAudio, TurnEvent, TurnState

HANGUP, CALL_ID, DTMF = 0x00, 0x01, 0x03
# Signed 16-bit samples; with `ulaw`, the channel driver of Asterisk sends mu-law in packets of the first kind.
SAMPLE_RATES = dict(enumerate([8000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000], start=0x10))
MAX_RATE = 48_000  # of live audio in Hz


async def packets(reader: StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the packets of a call until it ends: a byte for the kind, two for the length, and the payload."""
    with suppress(IncompleteReadError, ConnectionError):  # the other end may just close the connection
        while True:
            kind, size = struct.unpack(">BH", await reader.readexactly(3))
            if kind == HANGUP:
                return
            yield kind, await reader.readexactly(size)


def reduced(samples: bytes, factor: int) -> bytes:
    """Return signed 16-bit samples at a sample rate that is `factor` times lower: the means of so many samples."""
    values = memoryview(samples).cast("h")
    means = (sum(values[start : start + factor]) // factor for start in range(0, len(values), factor))
    return array("h", means).tobytes() if factor > 1 else samples


async def show(live: Live, call: str) -> None:
    """Print each turn when it has ended; an agent would answer here, and be silent when a turn has started."""
    async for event in live:
        if isinstance(event, TurnEvent) and event.state is TurnState.ENDED:
            print(f"{call} {event.start:.1f} s: {event.text}", flush=True)


async def transcribe(client: Client, reader: StreamReader, codec: Codec) -> None:
    """Send the audio of one call to a live task of its own, and print its turns."""
    call, received = "unknown", packets(reader)
    async for kind, payload in received:
        if kind == CALL_ID:
            call = str(UUID(bytes=payload))
        elif kind in SAMPLE_RATES:
            factor = max(SAMPLE_RATES[kind] // MAX_RATE, 1)
            audio = LiveAudio(codec=codec, sample_rate=SAMPLE_RATES[kind] // factor)
            async with client.live(audio=audio, user_id="telephone", turns=True) as live:
                showing = [asyncio.create_task(show(live, call))]
                await live.send(reduced(payload, factor))
                async for next_kind, content in received:
                    if next_kind == kind:
                        await live.send(reduced(content, factor))
                    elif (next_kind, content) == (DTMF, b"#"):  # the caller has said it all: no pause is waited for
                        showing.append(asyncio.create_task(live.finalize()))
                await live.end()
                await asyncio.gather(*showing)
    print(f"{call} has ended", flush=True)


async def main(port: int, codec: Codec) -> None:
    """Accept calls until the program is stopped."""
    async with Client() as client:

        async def answer(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                await transcribe(client, reader, codec)
            except (ClientError, ValueError) as error:  # ValueError: this is no call
                print(f"A call was not transcribed: {error}", file=sys.stderr)
            finally:
                writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
            print(f"waiting for calls on port {server.sockets[0].getsockname()[1]}", flush=True)
            await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:]:
        with suppress(KeyboardInterrupt):
            asyncio.run(main(int(sys.argv[1]), Codec.MULAW if "ulaw" in sys.argv[2:] else Codec.PCM_S16LE))
    else:
        sys.exit(__doc__)
