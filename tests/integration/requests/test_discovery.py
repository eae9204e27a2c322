"""Discovery of services on NATS (ADR-32): each worker is an instance, and its requests are endpoints with counts."""

import asyncio
import json
from typing import Any

import pytest
from nats.aio.client import Client
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats
from natscribe.schemas import subjects

from app.main import Worker
from tests import document


async def ask(nc: Client, subject: str) -> Any:
    """The reply of the worker, which the document describes."""
    reply = json.loads((await nc.request(subject, timeout=5)).data)
    kind = {"ping": "ServicePing", "info": "ServiceInfo", "stats": "ServiceStats"}
    document.validator(kind[reply["type"].split(".")[-1].removesuffix("_response")], "payload", closed=True).validate(
        reply
    )
    return reply


async def test_a_worker_is_found_as_an_instance_of_the_service(worker: Worker, nc: Client) -> None:
    # When a program asks which services there are, then the worker replies in the format of NATS services
    found = ServicePing.from_dict(await ask(nc, "$SRV.PING"))
    assert (found.name, found.metadata) == ("natscribe", {"worker": worker.container.worker_name})
    # And it can be asked by its name and its id
    assert await ask(nc, "$SRV.PING.natscribe") == await ask(nc, f"$SRV.PING.natscribe.{found.id}")
    # And it names its requests as endpoints
    info = ServiceInfo.from_dict(await ask(nc, f"$SRV.INFO.natscribe.{found.id}"))
    endpoints = {endpoint.name: endpoint for endpoint in info.endpoints}
    assert (endpoints["askStatus"].subject, endpoints["askStatus"].queue_group) == ("tasks.status", "natscribe")
    assert endpoints.keys() >= {"askResult", "deleteTask", "enrollVoice", "replayDeadLetters", "askWorkers"}


async def test_requests_and_their_errors_are_counted(worker: Worker, nc: Client) -> None:
    # Given two requests, one for a task that does not exist
    await nc.request(subjects.TASK_QUEUES, b"{}", timeout=5)
    await nc.request(subjects.STATUS, b'{"task_id": "unknown"}', timeout=5)
    await nc.request(subjects.STATUS, b"no JSON: secret", timeout=5)
    # When a program asks for statistics
    reply = await ask(nc, "$SRV.STATS.natscribe")
    stats = {endpoint.name: endpoint for endpoint in ServiceStats.from_dict(reply).endpoints}
    # Then each request is counted, with its time, and an error with its code alone
    assert (stats["askQueue"].num_requests, stats["askQueue"].num_errors, stats["askQueue"].last_error) == (1, 0, "")
    assert stats["askQueue"].average_processing_time == stats["askQueue"].processing_time > 0
    assert (stats["askStatus"].num_requests, stats["askStatus"].num_errors) == (2, 2)
    assert stats["askStatus"].last_error == "invalid_request"
    assert "secret" not in str(reply)


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_a_reply_goes_to_inboxes_only(worker: Worker, nc: Client, verb: str) -> None:
    # Given a subject that is no inbox
    stored = await nc.subscribe("elsewhere")
    # When it is named as the reply subject
    await nc.publish(f"$SRV.{verb}", reply="elsewhere")
    await ask(nc, f"$SRV.{verb}.natscribe")
    # Then nothing is published there
    with pytest.raises(asyncio.TimeoutError):
        await stored.next_msg(timeout=0.3)
