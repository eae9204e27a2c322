"""Voices: people whom a user has named once, so that later results name them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, model_validator
from typing_extensions import Self

from .wire import Input, Message, Model, Seconds, Speaker, TaskId, Time, UserId, to_utc, visible

UNKNOWN = "unknown"  # the name of a speaker who is nobody's voice
LEAST_REFERENCE_S = 15.0  # speech of one person alone that a reference needs
MOST_REFERENCES = 10  # of a voice; a further one replaces the oldest
VOICE_ID_PATTERN = r"^[0-9a-f]{32}$"
# No control characters, and none that reorder a line or begin one.
VOICE_NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"
_EXAMPLE_VOICE = "3f9a0c17d2e4b5860d1c2b3a4f5e6d7c"

VoiceId = Annotated[
    str, Field(pattern=VOICE_ID_PATTERN, description="Id of the voice, made by the service.", examples=[_EXAMPLE_VOICE])
]
VoiceName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=VOICE_NAME_PATTERN,
        description="Name of the person, as transcripts show it.",
        examples=["Anna"],
    ),
    AfterValidator(visible),
]
Score = Annotated[float, Field(ge=-1, le=1), AfterValidator(lambda value: round(value, 3))]


class Consent(Input):
    """The agreement of a person to be recognised by their voice: without it nobody is enrolled."""

    by: Annotated[str, AfterValidator(visible)] = Field(
        min_length=1,
        max_length=200,
        pattern=VOICE_NAME_PATTERN,
        description="Who has given it: the person, or who may do so for them.",
        examples=["Anna Berg, by e-mail"],
    )
    at: Annotated[AwareDatetime, AfterValidator(to_utc)] = Field(
        strict=False,  # JSON has no times
        description="When it was given: RFC 3339, with a time zone.",
        examples=["2026-11-24T09:30:00Z"],
    )


class EnrollRequest(Input):
    """Says who a speaker of a completed task is: from then on later tasks of the user can name this person."""

    user_id: UserId
    task_id: TaskId
    speaker: Speaker | None = Field(
        None, description="The speaker of the task; null: its only one, as in a recording of one person."
    )
    name: VoiceName | None = Field(None, description="Name of a new voice; null with `voice`.", examples=["Anna"])
    voice: VoiceId | None = Field(
        None, description="The voice that gets one more reference; null: a new voice is made, and needs a `name`."
    )
    consent: Consent = Field(description="Who has agreed, and when.")
    another: bool = Field(
        default=False,
        description="The speaker is somebody else than the voice of the user that sounds the same: without it such a "
        "request is refused, because of two voices of one person neither is named.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.name is None) == (self.voice is None):
            message = "give a name for a new voice, or the voice that gets one more reference"
            raise ValueError(message)
        return self


class VoicesRequest(Input):
    """Asks for the voices of a user."""

    user_id: UserId
    after: int = Field(
        0, ge=0, lt=2**63, description="Where to continue: `more_after` of the last reply; 0: at the beginning."
    )


class RenameRequest(Input):
    """Gives a voice another name; results that name this person show it from then on."""

    user_id: UserId
    voice: VoiceId
    name: VoiceName


class ForgetRequest(Input):
    """Asks the service to forget a voice: its name, its consent and its references."""

    user_id: UserId
    voice: VoiceId


class Reference(Message):
    """Speech of a person with which later recordings are compared."""

    task_id: TaskId
    speaker: Speaker
    seconds: Seconds = Field(description="Seconds in which this person spoke alone.", examples=[31.5])
    at: Time = Field(description="When it was enrolled.")


class Voice(Message):
    """A person whom a user has named."""

    voice: VoiceId
    name: VoiceName
    consent: Consent = Field(description="Who has agreed, and when: that of the last reference.")
    references: list[Reference] = Field(description="Where the person was heard: the newest last, ten at most.")
    model: Model = Field(description="The network that made the references.")
    comparable: bool = Field(
        description="Whether speakers are compared with this voice: false if another network made its references; "
        "enrol the person again then."
    )


class VoicePage(Message):
    """Voices of a user."""

    voices: list[Voice] = Field(description="The voices; the one that was changed last is the last one.")
    more_after: int | None = Field(
        None, description="Not null if the user has more voices than fit into the reply: ask again with it as `after`."
    )


class Forgotten(Message):
    """The reply to `voices.forget`, and the event `voices.forgotten.{voice}`: the service has nothing of the voice."""

    voice: VoiceId
    user_id: UserId
    at: datetime = Field(description="When it was forgotten: RFC 3339, in UTC.", examples=["2026-11-24T18:40:44Z"])


class SpeakerVoice(Message):
    """Whose voice a speaker has."""

    voice: VoiceId | None = Field(description="The voice; null: nobody's voice is like this one, or it was forgotten.")
    name: str | None = Field(
        description="The name at reading: `tasks.result` writes it, `unknown` if no voice was found. Null in the "
        "stored result.",
        examples=["Anna"],
    )
    score: Score | None = Field(
        description="How alike the speaker and the most similar voice are: 1 is equal; null if there was none to "
        "compare with.",
        examples=[0.71],
    )

    def called(self, names: Mapping[str, str]) -> Self:
        """Return the same with the name of the voice, and without a voice if `names`, by voice, has none."""
        name = names.get(self.voice or "")
        return self.model_copy(update={"name": UNKNOWN, "voice": None} if name is None else {"name": name})
