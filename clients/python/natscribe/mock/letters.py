"""The dead letters that the mock has stored."""

from nats.aio.client import Client as Nats

from natscribe.jetstream.dead_letters import dead_letter_pages
from natscribe.mock.task import PlayedTask
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.requests import DeadLetterChoice
from natscribe.schemas.stream_names import StreamNames


class Letters:
    """Reads and removes dead letters, and publishes their tasks again."""

    def __init__(self, nats: Nats, names: StreamNames) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._stream = names.dead_letters

    async def chosen(self, choice: DeadLetterChoice | None) -> list[tuple[int, DeadLetter]]:
        """Return the chosen dead letters with their stream sequences; without a choice all, the oldest first."""
        stored = [each async for page in dead_letter_pages(self._nats, self._stream) for each in page]
        return [each for each in stored if choice is None or choice.chooses(each[1])]

    async def delete(self, sequence: int) -> None:
        """Remove a dead letter."""
        await self._js.delete_msg(self._stream, sequence)

    async def publish_again(self, task: PlayedTask) -> None:
        """Publish the message of a failed task again."""
        headers = task.traceparent | {REPLAY_OF: str(task.log_end)}
        await self._js.publish(task.message.subject, task.message.body, headers=headers)
