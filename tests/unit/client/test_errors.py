"""What the errors of the client say: what has failed, and the next step."""

import pytest
from natscribe.client.errors import ClientError, NoServerError, NotAllowedError, StorageStoppedError


@pytest.mark.parametrize(
    "error",
    [
        NoServerError("nats://host:4222", "set NATS_URL: nats://HOST:PORT"),
        NotAllowedError("anna", "tasks.>", ("publisher",)),
        StorageStoppedError("recordings"),
    ],
)
def test_an_error_says_what_has_failed_and_the_next_step(error: ClientError) -> None:
    # Given errors whose parts may have colons of their own, then both parts are apart, and the message has both
    assert error.what
    assert error.next_step
    assert str(error) == f"{error.what}: {error.next_step}."


def test_an_error_without_a_next_step_is_its_sentence_alone() -> None:
    assert str(ClientError("The task was deleted.")) == "The task was deleted."
