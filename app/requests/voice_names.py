"""Names in results: a stored result has ids of voices, and an answer has the names that these voices have now."""

import asyncio

from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorCode

from app.errors import RequestError
from app.updates import Result
from app.voices.store import VoiceStore


class VoiceNames:
    """Puts the names that voices have now into results."""

    def __init__(self, store: VoiceStore) -> None:
        self._store = store

    async def joined(self, result: Result) -> Result:
        """Return a result with the names of its voices.

        A speaker without a voice gets the name UNKNOWN, and so does one whose voice was forgotten.

        Raises:
            RequestError: NATS does not answer.
        """
        if not result.voices:
            return result
        ids = sorted({each.voice for each in result.voices.values() if each.voice is not None})
        try:
            found = await asyncio.gather(*(self._store.find(result.user_id, voice) for voice in ids))
        except NatsError as error:
            message = "NATS did not answer when the names were read: ask again in a moment."
            raise RequestError(ErrorCode.INTERNAL, message) from error
        names = {kept.voice.voice: kept.voice.name for kept in found if kept is not None}
        voices = {label: each.called(names) for label, each in result.voices.items()}
        return result.model_copy(update={"voices": voices})
