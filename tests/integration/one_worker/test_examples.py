"""The examples of requests in the document are understood by a running service."""

from typing import Any

import pytest
from natscribe.schemas.errors import ErrorCode

from tests import document
from tests.integration.conftest import Publisher

REQUESTS = [
    pytest.param(document.channel_of(operation)["address"], example["payload"])
    for name, operation in document.operations("receive").items()
    if "reply" in operation and name != "transcribeWindow"
    if "{" not in document.channel_of(operation)["address"]  # `test_discovery.py` has NATS's discovery of services
    for example in document.examples(operation)
]


@pytest.mark.parametrize(("subject", "request_"), REQUESTS)
async def test_the_example_of_a_request_is_understood(
    publisher: Publisher, subject: str, request_: dict[str, Any]
) -> None:
    reply = await publisher.request(subject, **request_)
    assert reply.get("error", {}).get("code") in {None, ErrorCode.NOT_FOUND}
