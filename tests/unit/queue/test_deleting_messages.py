"""How messages of the task stream are deleted, and what the holder of the lease reports about those that wait."""

import json

import pytest
from natscribe.schemas import subjects
from natscribe.schemas.wire import Priority, TaskType

from app.storage.jetstream.lease import QueueReport
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts

KEY = (TaskType.TRANSCRIPTION, Priority.NORMAL)


@pytest.mark.parametrize("by_worker", [False, True])
async def test_a_message_is_overwritten_on_the_disk_unless_its_worker_deletes_it(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch, by_worker: bool
) -> None:
    message, request, sent = await parts.publish("t1"), nats.request, list[bytes]()

    async def record(subject: str, payload: bytes = b"", timeout: float = 1.0) -> object:  # noqa: ASYNC109
        sent.extend([payload] if "MSG.DELETE" in subject else [])
        return await request(subject, payload, timeout)

    monkeypatch.setattr(nats, "request", record)
    await parts.messages.delete(message, by_worker=by_worker)
    assert [json.loads(payload)["no_erase"] for payload in sent] == [by_worker]


async def test_scheduled_tasks_that_the_holder_of_the_lease_reports_do_not_count_as_waiting(parts: Parts) -> None:
    for task_id in ("a", "b", "c"):
        await parts.publish(task_id)
    parts.lease.queues = QueueReport(scheduled={subjects.tasks(*KEY): 2})
    assert await parts.lease.renew()
    queue = (await parts.queues.read(sample=0)).by_key[KEY]
    assert (queue.waiting, queue.scheduled) == (1, 2)
