"""`text.redact`: a text without personal data, and no trace of it."""

import pytest
from natscribe.schemas.redaction import MAX_TEXT_CHARS, EntityType, Redacted

from tests.integration.conftest import Publisher

CALL = "Agent: The card?\nCaller: four one one one\nAgent: Okay.\nCaller: 1111 1111 1111, and mail a@b.com"


async def test_personal_data_is_replaced_where_the_reply_says(publisher: Publisher) -> None:
    # When a client sends the turns of a call
    reply = Redacted.model_validate(
        await publisher.request(
            "text.redact", text=CALL, language="en", redact={"entities": ["pci", "email"], "replace": "numbered"}
        )
    )
    # Then each part of the number is replaced, and the reply says where it was
    assert reply.text == "Agent: The card?\nCaller: [CARD_1]\nAgent: Okay.\nCaller: [CARD_1], and mail [EMAIL_1]"
    assert [(entity.type, CALL[entity.start : entity.end], entity.number) for entity in reply.entities] == [
        (EntityType.CARD, "four one one one", 1),
        (EntityType.CARD, "1111 1111 1111", 1),
        (EntityType.EMAIL, "a@b.com", 1),
    ]
    assert all(0 < entity.score <= 1 for entity in reply.entities)


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"redact": {"entities": ["phones"]}}, "redact.entities.0: there is no such entity (did you mean phone?)"),
        ({"redact": {"entities": ["\x1b[31m" * 100]}}, "use one of person, phone, email, card"),
        ({"redact": {"entities": []}}, "redact.entities"),
        ({"redact": {"entities": ["all"], "replace": "stars"}}, "redact.replace"),
        ({"text": "x" * (MAX_TEXT_CHARS + 1)}, "text"),
        ({"language": "English"}, "use a code of ISO 639-1, like en"),
    ],
)
async def test_an_invalid_request_says_what_to_correct(
    publisher: Publisher, fields: dict[str, object], advice: str
) -> None:
    valid = {"text": "hello", "redact": {"entities": ["all"]}}
    error = (await publisher.request("text.redact", **valid | fields))["error"]
    assert error["code"] == "invalid_request"
    assert advice in error["message"]
    assert "\x1b" not in error["message"]


async def test_the_largest_text_is_redacted(publisher: Publisher) -> None:
    text = "one " * (MAX_TEXT_CHARS // 4)
    reply = Redacted.model_validate(await publisher.request("text.redact", text=text, redact={"entities": ["number"]}))
    assert reply.text == "[NUMBER] "
