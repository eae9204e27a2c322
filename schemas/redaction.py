"""Redaction: personal data in a text is replaced."""

from difflib import get_close_matches
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from .enums import DescribedEnum, of_any_version
from .wire import LANGUAGE_PATTERN, End, Input, Message, Start

MAX_TEXT_CHARS: Final = 50_000
MAX_LABEL_CHARS: Final = 100  # of a value that an error compares with the labels


class EntityType(DescribedEnum):
    """A type of personal data."""

    PERSON = "person", "Names of persons, in English and Russian"
    PHONE = "phone", "Telephone numbers"
    EMAIL = "email", "E-mail addresses, also spoken: `john dot smith at gmail dot com`"
    CARD = "card", "Numbers of payment cards, and their security codes, PINs and expiry dates"
    BANK_ACCOUNT = "bank_account", "IBANs and account numbers, routing numbers, sort codes and БИК"
    NATIONAL_ID = (
        "national_id",
        "Numbers of passports, driving licences, social security and taxpayers: SSN, ИНН, СНИЛС",
    )
    ADDRESS = "address", "Streets with a number"
    DATE_OF_BIRTH = "date_of_birth", "Dates of birth"
    DATE = "date", "Other dates: a month with a day or a year"
    URL = "url", "Web addresses"
    USERNAME_PASSWORD = "username_password", "User names and passwords"
    NUMBER = "number", "Any other run of four digits or more"


class EntityGroup(DescribedEnum):
    """A group of types of personal data."""

    PCI = "pci", "`card` and `bank_account`"
    CONTACT = "contact", "`phone`, `email`, `address` and `url`"
    ALL = "all", "All types"

    @property
    def types(self) -> frozenset[EntityType]:
        """The types of the group."""
        if self is EntityGroup.PCI:
            return frozenset({EntityType.CARD, EntityType.BANK_ACCOUNT})
        if self is EntityGroup.CONTACT:
            return frozenset({EntityType.PHONE, EntityType.EMAIL, EntityType.ADDRESS, EntityType.URL})
        return frozenset(EntityType)


class Replacement(DescribedEnum):
    """What replaces personal data."""

    LABEL = "label", "The type: `[PHONE]`"
    NUMBERED = "numbered", "The type and a number, the same for the same value: `[PHONE_1]`"
    MASK = "mask", "`####`, however long the value is"

    def of(self, type_: EntityType, number: int) -> str:
        """Return what replaces the value with a number among those of its type."""
        if self is Replacement.MASK:
            return "####"
        label = type_.value.upper()
        return f"[{label}_{number}]" if self is Replacement.NUMBERED else f"[{label}]"


class AudioRedaction(DescribedEnum):
    """What a copy of the recording has in place of personal data."""

    NONE = "none", "There is no copy"
    SILENCE = "silence", "Silence"
    BEEP = "beep", "A tone of 1 kHz"


_LABELS: Final = [member.value for kind in (EntityType, EntityGroup) for member in kind]


def _known(value: object) -> EntityType | EntityGroup:
    """Return the type or the group of this name.

    Raises:
        ValueError: It is none; the text names the most similar one.
    """
    if value in list(EntityType):
        return EntityType(str(value))
    if value in list(EntityGroup):
        return EntityGroup(str(value))
    similar = get_close_matches(str(value)[:MAX_LABEL_CHARS], _LABELS, n=1)
    question = f" (did you mean {similar[0]}?)" if similar else ""
    message = f"there is no such entity{question}, use one of {', '.join(_LABELS)}"
    raise ValueError(message)


class Redaction(Input):
    """Which personal data is replaced, and by what."""

    entities: Annotated[
        tuple[Annotated[EntityType | EntityGroup, BeforeValidator(_known)], ...],
        Field(
            strict=False,  # JSON has no tuples
            min_length=1,
            max_length=len(_LABELS),
            description="Types and groups of personal data.",
            examples=[["pci"]],
        ),
    ]
    replace: Replacement = Field(Replacement.LABEL, strict=False, description="What replaces it.")

    @property
    def types(self) -> frozenset[EntityType]:
        """All types that are replaced."""
        chosen = (entity.types if isinstance(entity, EntityGroup) else {entity} for entity in self.entities)
        return frozenset().union(*chosen)


class TaskRedaction(Redaction):
    """Which personal data is replaced in the text of a task, and by what."""

    audio: AudioRedaction = Field(
        AudioRedaction.NONE,
        strict=False,
        description="What replaces it in a copy of the recording, which the result names in `redacted_audio`. With "
        "`keep_audio`, a live task keeps this copy.",
    )
    partials: bool = Field(
        default=False,
        description="Publish redacted partial results of a live task. Without this option there are none: a partial "
        "result may have the beginning of a number that no rule knows yet.",
    )


class RedactRequest(Input):
    """A request to redact a text."""

    text: Annotated[
        str,
        Field(
            max_length=MAX_TEXT_CHARS,
            description="The text. A turn of a conversation is a line, and may start with `Name:`.",
            examples=["My number is five five five, oh one four two."],
        ),
    ]
    language: Annotated[
        Annotated[str, Field(pattern=LANGUAGE_PATTERN)] | None,
        Field(description="Language of the text, as ISO 639-1; null: unknown.", examples=["en"]),
    ] = None
    redact: Redaction = Field(description="What to replace, and by what.")


_Type = Annotated[EntityType, of_any_version(EntityType), Field(description="Type of the personal data.")]
_Score = Annotated[float, Field(ge=0, le=1, description="How certain the type is, from 0 to 1.", examples=[0.9])]
_Number = Annotated[
    int, Field(ge=1, description="Number of the value among those of its type: equal values have one number.")
]


class RedactedEntity(Message):
    """Personal data that was found; its text is never repeated."""

    type: _Type
    start: int = Field(ge=0, description="Where it starts in the text of the request, in characters (code points).")
    end: int = Field(ge=0, description="Where it ends, exclusive.")
    score: _Score
    number: _Number


class SpokenEntity(Message):
    """Personal data that was replaced in the text of a task; its text is never repeated.

    What was given in several segments is an entity in each of them, with one `number`.
    """

    type: _Type
    start: Start
    end: End
    score: _Score
    number: _Number
    channel: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Number of the channel, from 0; null: the channels were mixed."
    )


class Redacted(Message):
    """A redacted text."""

    text: str = Field(description="The text, with each entity replaced.")
    entities: list[RedactedEntity] = Field(description="What was replaced, in the order of the text.")
