"""The command `redact`."""

from unittest.mock import AsyncMock

import pytest
from natscribe.client import Client
from natscribe.schemas.redaction import MAX_TEXT_CHARS, Redacted

from tests.unit.cli.conftest import Run

REPLY = Redacted(text="call [PHONE]", entities=[])


@pytest.fixture
def asked(no_server: None, monkeypatch: pytest.MonkeyPatch) -> AsyncMock:
    """The client's method, which replies."""
    method = AsyncMock(return_value=REPLY)
    monkeypatch.setattr(Client, "redact", method)
    return method


def test_the_text_on_standard_input_is_redacted(asked: AsyncMock, run: Run) -> None:
    # When a text is sent to the command
    done = run("redact", "--entities", "pci, phone", "--replace", "mask", "-l", "English", input="call 555-1234\n")
    # Then the service is asked for it, and its reply is printed
    assert (done.exit_code, done.stdout) == (0, "call [PHONE]\n")
    asked.assert_awaited_once_with("call 555-1234\n", entities=["pci", "phone"], replace="mask", language="en")


def test_the_reply_as_json(asked: AsyncMock, run: Run) -> None:
    assert Redacted.model_validate_json(run("redact", "--json", input="hello").stdout) == REPLY


def test_an_endless_text_is_not_read_to_its_end(asked: AsyncMock, run: Run) -> None:
    run("redact", input="x" * 10 * MAX_TEXT_CHARS)
    assert len(asked.await_args_list[0].args[0]) == MAX_TEXT_CHARS + 1  # which the client refuses
