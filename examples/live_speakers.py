"""Print who says what while a WAV file is played as live audio: `python live_speakers.py CALL.wav`."""

import asyncio
import sys
import wave
from pathlib import Path

from natscribe import Client, Live, LiveAudio, SegmentsEvent, SpeakersEvent

FRAME_S = 0.1


async def play(live: Live, recording: wave.Wave_read) -> None:
    """Send a recording as fast as people speak, as a microphone would."""
    while pcm := recording.readframes(round(FRAME_S * recording.getframerate())):
        await live.send(pcm)
        await asyncio.sleep(FRAME_S)
    await live.end()


async def main(path: Path) -> None:
    """Print each segment with its speaker, and what is found out about speakers later."""
    with wave.open(str(path)) as recording:
        audio = LiveAudio(sample_rate=recording.getframerate(), channels=recording.getnchannels())
        async with Client() as client, client.live(audio=audio, diarize=True, identify=True) as live:
            playing = asyncio.create_task(play(live, recording))
            async for event in live:
                if isinstance(event, SegmentsEvent):
                    for segment in event.segments:
                        print(f"{segment.start:6.1f} s  {live.speakers.name(segment.speaker) or '?'}: {segment.text}")
                elif isinstance(event, SpeakersEvent):
                    for turn in event.turns:
                        print(f"from {turn.start:.1f} to {turn.end:.1f} s: {live.speakers.name(turn.speaker)}")
                    for same in event.same:
                        print(f"{same.speaker} is {live.speakers.name(same.is_)}")
                    for speaker in event.voices:
                        print(f"{speaker} is {live.speakers.name(speaker)}")
            await playing


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(main(Path(sys.argv[1])))
    else:
        sys.exit(__doc__)
