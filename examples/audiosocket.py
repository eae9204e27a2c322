"""Print the turns of telephone calls that Asterisk connects by AudioSocket: `python audiosocket.py PORT [ulaw]`."""

import asyncio
import struct
import sys
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from natscribe import Client, ClientError, Codec, Live, LiveAudio, TurnEvent, TurnState

HANGUP, CALL_ID = 0x00, 0x01
# Signed 16-bit samples; with `ulaw`, the channel driver of Asterisk sends mu-law in packets of the first kind.
SAMPLE_RATES = {0x10: 8000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000, 0x15: 44_100, 0x16: 48_000}


async def packets(reader: StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the packets of a call until it ends: a byte for the kind, two for the length, and the payload."""
    with suppress(IncompleteReadError, ConnectionError):  # the other end may just close the connection
        while True:
            kind, size = struct.unpack(">BH", await reader.readexactly(3))
            if kind == HANGUP:
                return
            yield kind, await reader.readexactly(size)


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
            audio = LiveAudio(codec=codec, sample_rate=SAMPLE_RATES[kind])
            async with client.live(audio=audio, user_id="telephone", turns=True) as live:
                showing = asyncio.create_task(show(live, call))
                await live.send(payload)
                async for next_kind, samples in received:
                    if next_kind == kind:
                        await live.send(samples)
                await live.end()
                await showing
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
