"""Names of speakers in results: a stored result has ids of voices, a reply has the current names of these voices."""

import asyncio

from natscribe.schemas.kinds import with_current_names

from app.requests.deadline import answering
from app.speech.updates import Result
from app.speech.voices.store import VoiceStore


async def with_voice_names(result: Result, store: VoiceStore) -> Result:
    """Return a result whose identified speakers have the current names of their enrolled voices.

    A speaker whose voice is not, or no longer, enrolled gets the name UNKNOWN_SPEAKER.

    Raises:
        RequestError: NATS does not answer.
    """
    if not result.voices:
        return result
    ids = sorted({speaker.voice for speaker in result.voices.values() if speaker.voice is not None})
    async with answering("NATS did not answer when the names were read: try again in a moment."):
        stored = await asyncio.gather(*(store.find(result.user_id, voice) for voice in ids))
    names = {versioned.voice.voice: versioned.voice.name for versioned in stored if versioned is not None}
    return with_current_names(result, names)
