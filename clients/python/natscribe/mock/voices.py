"""Voices in the mock: SPEAKER_00 of each recording is the person who was enrolled as SPEAKER_00, and so on."""

from datetime import datetime, timezone
from typing import Final
from uuid import uuid4

from natscribe.client.errors import RequestFailedError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.examples import VOICE
from natscribe.schemas.kinds import Result, Task
from natscribe.schemas.problems import invalid_request
from natscribe.schemas.requests import similar_voice
from natscribe.schemas.voices import (
    MOST_REFERENCES,
    EnrollRequest,
    Forgotten,
    Reference,
    SpeakerVoice,
    Voice,
)

SECONDS: Final = 31.5  # that each speaker says alone
SCORE: Final = 0.71


class Voices:
    """The voices of all users, in memory."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int | str, Voice]] = {}

    def of_user(self, user_id: int | str) -> list[Voice]:
        """Return the voices of a user."""
        return [voice for owner, voice in self._known.values() if _is_same(owner, user_id)]

    def enroll(self, request: EnrollRequest, result: Result | None) -> Voice:
        """Make a voice, or add a reference; `result` is that of the task.

        Raises:
            RequestFailedError: There is no such speaker or voice, or the speaker is enrolled as another voice.
        """
        speaker = _chosen(request, result)
        self._refuse_known(request, speaker)
        known = VOICE.model_copy(update={"voice": uuid4().hex, "name": request.name, "references": []})
        if request.voice is not None:
            known = self._of(request.user_id, request.voice)
        now = datetime.now(timezone.utc)
        reference = Reference(task_id=request.task_id, speaker=speaker, seconds=SECONDS, at=now)
        references = [*known.references, reference][-MOST_REFERENCES:]
        voice = known.model_copy(update={"references": references, "consent": request.consent})
        self._known[voice.voice] = request.user_id, voice
        return voice

    def rename(self, user_id: int | str, voice: str, name: str) -> Voice:
        """Give a voice another name.

        Raises:
            RequestFailedError: There is no such voice.
        """
        renamed = self._of(user_id, voice).model_copy(update={"name": name})
        self._known[voice] = user_id, renamed
        return renamed

    def forget(self, user_id: int | str, voice: str) -> Forgotten:
        """Forget a voice.

        Raises:
            RequestFailedError: There is no such voice.
        """
        del self._known[self._of(user_id, voice).voice]
        return Forgotten(voice=voice, user_id=user_id, at=datetime.now(timezone.utc))

    def identified(self, sent: Task, result: Result) -> Result:
        """Return a result with the voices of its speakers, without names, if the task asks for them."""
        if not sent.identify:
            return result
        by_speaker = self._by_speaker(sent.user_id)
        nobody = SpeakerVoice(voice=None, name=None, score=SCORE / 2 if by_speaker else None)
        voices = {
            speaker: SpeakerVoice(voice=by_speaker[speaker].voice, name=None, score=SCORE)
            if speaker in by_speaker
            else nobody
            for speaker in _speakers(result)
        }
        return result.model_copy(update={"voices": voices})

    def named(self, result: Result) -> Result:
        """Return a result with the names that its voices have now."""
        if not result.voices:
            return result
        names = {voice.voice: voice.name for voice in self.of_user(result.user_id)}
        voices = {label: each.called(names) for label, each in result.voices.items()}
        return result.model_copy(update={"voices": voices})

    def _by_speaker(self, user_id: int | str) -> dict[str, Voice]:
        return {reference.speaker: voice for voice in self.of_user(user_id) for reference in voice.references}

    def _refuse_known(self, request: EnrollRequest, speaker: str) -> None:
        """Raise an error if this speaker of the task is enrolled as another voice than the request names."""
        for known in self.of_user(request.user_id):
            has_speaker = any((each.task_id, each.speaker) == (request.task_id, speaker) for each in known.references)
            if has_speaker and known.voice != request.voice and not request.another:
                raise RequestFailedError(similar_voice(speaker, known.voice))

    def _of(self, user_id: int | str, voice: str) -> Voice:
        owner, known = self._known.get(voice, (None, VOICE))
        if owner is None or not _is_same(owner, user_id):
            message = f"The user has no voice {voice}: voices.list shows the voices of a user."
            raise RequestFailedError(ErrorDetail(code=ErrorCode.NOT_FOUND, message=message))
        return known


def _is_same(one: int | str, other: int | str) -> bool:
    return type(one) is type(other) and one == other  # 1 and "1" are two users


def _speakers(result: Result | None) -> list[str]:
    return sorted({each.speaker for each in result.segments if each.speaker}) if result is not None else []


def _chosen(request: EnrollRequest, result: Result | None) -> str:
    """Return the speaker whom a request names, or the only speaker."""
    speakers = _speakers(result)
    if result is None or result.voices is None:
        message = f"No voices of task {request.task_id} are kept: enrol from a task with `identify: true`."
        raise RequestFailedError(ErrorDetail(code=ErrorCode.NOT_FOUND, message=message))
    if request.speaker is None and len(speakers) > 1:
        raise RequestFailedError(invalid_request(f"the recording has {len(speakers)} speakers: name one of them"))
    label = request.speaker or speakers[0]
    if label not in speakers:
        message = f"Task {request.task_id} has no {label}: its speakers are {', '.join(speakers)}."
        raise RequestFailedError(ErrorDetail(code=ErrorCode.NOT_FOUND, message=message))
    return label
