"""Simulates enrolled voices, i.e. known persons, without comparing audio.

SPEAKER_00 of each recording is the person who was enrolled as SPEAKER_00 of any other recording, and so on.
"""

from collections import defaultdict
from datetime import datetime, timezone
from typing import Final
from uuid import uuid4

from natscribe.client.errors import RequestFailedError
from natscribe.mock.log import Log
from natscribe.schemas import subjects
from natscribe.schemas.examples import VOICE
from natscribe.schemas.kinds import Result, Task, with_current_names
from natscribe.schemas.request_errors import no_embeddings, similar_voice, speaker_error, unknown_voice
from natscribe.schemas.voices import (
    MAX_REFERENCES,
    EnrollRequest,
    ForgetRequest,
    Forgotten,
    Reference,
    RenameRequest,
    SpeakerVoice,
    Voice,
    VoicePage,
    VoicesRequest,
)

SECONDS: Final = 31.5  # for which each speaker speaks alone
SCORE: Final = 0.71


class Voices:
    """Stores the enrolled voices of all users in memory."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._voices: dict[tuple[type, int | str], dict[str, Voice]] = defaultdict(dict)  # 1 and "1" are two users

    def of_user(self, user_id: int | str) -> list[Voice]:
        """Return all enrolled voices of a user."""
        return list(self._voices[type(user_id), user_id].values())

    def enroll(self, request: EnrollRequest, result: Result | None) -> Voice:
        """Enrol a speaker of a completed task: create a voice, or add a reference to the voice that the request names.

        `result`: the result of that task.

        Raises:
            RequestFailedError: There is no such speaker or voice, or the speaker is already enrolled as another voice.
        """
        speaker = _speaker(request, result)
        self._refuse_enrolled(request, speaker)
        if request.voice is None:
            voice = VOICE.model_copy(update={"voice": uuid4().hex, "name": request.name, "references": []})
        else:
            voice = self._of(request.user_id, request.voice)
        now = datetime.now(timezone.utc)
        reference = Reference(task_id=request.task_id, speaker=speaker, seconds=SECONDS, at=now)
        references = [*voice.references, reference][-MAX_REFERENCES:]
        return self._put(
            request.user_id, voice.model_copy(update={"references": references, "consent": request.consent})
        )

    def _put(self, user_id: int | str, voice: Voice) -> Voice:
        self._voices[type(user_id), user_id][voice.voice] = voice
        return voice

    async def page(self, request: VoicesRequest) -> VoicePage:
        """Return one page of a user's voices: the first page has all of them, any further page is empty."""
        return VoicePage(voices=[] if request.after else self.of_user(request.user_id))

    async def rename(self, request: RenameRequest) -> Voice:
        """Change the name of an enrolled voice, and return the voice.

        Raises:
            RequestFailedError: There is no such voice.
        """
        voice = self._of(request.user_id, request.voice)
        return self._put(request.user_id, voice.model_copy(update={"name": request.name}))

    async def forget(self, request: ForgetRequest) -> Forgotten:
        """Delete an enrolled voice, and publish a `voices.forgotten` event with its id.

        Raises:
            RequestFailedError: There is no such voice.
        """
        voice, user_id = self._of(request.user_id, request.voice).voice, request.user_id
        del self._voices[type(user_id), user_id][voice]
        forgotten = Forgotten(voice=voice, user_id=user_id, at=datetime.now(timezone.utc))
        await self._log.publish(subjects.forgotten(voice), forgotten)
        return forgotten

    def identified(self, sent: Task, result: Result) -> Result:
        """Return a copy of a result in which enrolled speakers have the ids of their voices, but not yet the names.

        If the task does not have the option `identify`, return the result unchanged.
        """
        if not sent.identify:
            return result
        enrolled = {
            reference.speaker: voice.voice for voice in self.of_user(sent.user_id) for reference in voice.references
        }
        unknown_score = SCORE / 2 if enrolled else None
        voices = {
            speaker: SpeakerVoice(
                voice=enrolled.get(speaker), name=None, score=SCORE if speaker in enrolled else unknown_score
            )
            for speaker in sorted({segment.speaker for segment in result.segments if segment.speaker})
        }
        return result.model_copy(update={"voices": voices})

    def with_names(self, result: Result) -> Result:
        """Return a copy of a result in which each identified speaker has the current name of the enrolled voice."""
        return with_current_names(result, {voice.voice: voice.name for voice in self.of_user(result.user_id)})

    def _refuse_enrolled(self, request: EnrollRequest, speaker: str) -> None:
        """Refuse to enrol a speaker who is already enrolled as a voice that is not the one in the request.

        If `another` is set in the request, nothing is refused.

        Raises:
            RequestFailedError: The speaker is already enrolled as another voice.
        """
        for voice in self.of_user(request.user_id):
            enrolled = [(reference.task_id, reference.speaker) for reference in voice.references]
            if (request.task_id, speaker) in enrolled and voice.voice != request.voice and not request.another:
                raise RequestFailedError(similar_voice(speaker, voice.voice))

    def _of(self, user_id: int | str, voice: str) -> Voice:
        for owned in self.of_user(user_id):
            if owned.voice == voice:
                return owned
        raise RequestFailedError(unknown_voice(voice))


def _speaker(request: EnrollRequest, result: Result | None) -> str:
    """Return the label of the speaker to enrol: the one that the request names, or else the only one in the result.

    Raises:
        RequestFailedError: The result has no such speaker, several speakers, or none that can be enrolled.
    """
    if result is None or result.voices is None:
        raise RequestFailedError(no_embeddings(request.task_id))
    speakers = sorted(result.voices)
    if (error := speaker_error(request, speakers)) is not None:
        raise RequestFailedError(error)
    return request.speaker or speakers[0]
