"""What the rules return: where personal data is in a text."""

from dataclasses import dataclass

from natscribe.schemas.redaction import EntityType


@dataclass(frozen=True, slots=True)
class Found:
    """Personal data in a text.

    `spans`: where it is, in characters of the text; more than one if it goes over several turns of a conversation.
    `score`: how certain the type is, from 0 to 1. `value`: what equal values have in common.
    """

    type: EntityType
    spans: tuple[tuple[int, int], ...]
    score: float
    value: str
