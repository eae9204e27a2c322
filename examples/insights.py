"""A FastStream service that publishes what it finds in each transcript: `faststream run insights:app`."""

import os

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from natscribe import TranscriptionResult
from natscribe.faststream import RESULTS, Result, broker, pull_inbox
from pydantic import BaseModel

natscribe = broker()  # NATS_URL, and the login if there is one
own = NatsBroker(os.environ.get("OWN_NATS_URL", "nats://localhost:4222").split(","), max_reconnect_attempts=-1)
app = FastStream(own, natscribe)


class Insight(BaseModel):
    """What is worth knowing of a conversation."""

    task_id: str
    summary: list[str]


def insight(result: TranscriptionResult) -> Insight:
    """Return the three longest segments; call a language model here instead, with a deadline."""
    summary = sorted((segment.text for segment in result.segments), key=len, reverse=True)[:3]
    return Insight(task_id=result.task_id, summary=summary)


insights = own.publisher("insights.*", stream=JStream("insights"))
inbox = pull_inbox()


@natscribe.subscriber(
    "results.*", stream=RESULTS, durable="insights", pull_sub=PullSub(), inbox_prefix=inbox, ack_policy=AckPolicy.MANUAL
)
async def find(result: Result, message: NatsMessage) -> None:
    """Publish the insight of a transcript; after an error NATS delivers the result again."""
    if isinstance(result, TranscriptionResult):
        await insights.publish(insight(result), f"insights.{result.task_id}", headers={"Nats-Msg-Id": result.task_id})
    await message.ack()
