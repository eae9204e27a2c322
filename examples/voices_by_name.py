"""Enrol a speaker, who is named in later transcripts: `python voices_by_name.py ONE_PERSON NAME RECORDING`."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from natscribe import Client, Consent, RequestFailedError, ResultFormat


async def main(one_person: Path, name: str, recording: Path) -> None:
    """Enrol the only speaker of a recording, with consent; print the transcript of another recording with the name."""
    async with Client() as client:
        source = await client.create_diarization_task(one_person, identify=True)
        await client.wait_for_result(source)
        consent = Consent(by=name, at=datetime.now(UTC))
        try:
            voice = await client.enroll_voice(source, name=name, consent=consent)
            print(f"{voice.name} is the voice {voice.voice}")
        except RequestFailedError as error:  # too little speech, two people, or a person who has a voice already
            print(error)
        task_id = await client.create_transcription_task(recording, diarize=True, identify=True)
        print(await client.wait_for_result(task_id, ResultFormat.TXT))


if __name__ == "__main__":
    match sys.argv[1:]:
        case [one_person, name, recording]:
            asyncio.run(main(Path(one_person), name, Path(recording)))
        case _:
            sys.exit(__doc__)
