"""The package `natscribe` (clients/python), typed from end to end: `python typed_client.py RECORDING`."""

import asyncio
import sys
from pathlib import Path

from natscribe import Client, ProgressEvent, RequestFailedError, ResultFormat


async def main(recording: Path) -> None:
    """Print the text as it is transcribed, then with speakers. The client itself reads NATS_URL, NATS_USER etc."""
    async with Client() as client:
        task_id = await client.create_transcription_task(recording, diarize=True)
        async for event in client.follow(task_id):
            if isinstance(event, ProgressEvent):
                print(f"{event.state} {event.progress} %")
            else:
                for segment in event.segments:  # without speakers, which only the result has
                    print(f"  {segment.start:7.2f}  {segment.text}")
        try:
            print(await client.get_task_result(task_id, ResultFormat.TXT))
        except RequestFailedError as error:
            sys.exit(f"{task_id}: {error}")


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(main(Path(sys.argv[1])))
    else:
        sys.exit(__doc__)
