"""Handles `tasks.delete` for a user: deletes all tasks of the user, over several requests if that takes long."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from natscribe.jetstream.task_messages import parse_json_leniently
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.erased import ErasureReason
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.requests import Deleted, UserRequest

from app.runtime.errors import MessageGoneError, ObsoleteMessageError, RequestError, TransientError
from app.speech.updates import Task
from app.tasks.dead_letters.store import REPLY_WITHIN_S
from app.tasks.queue.registration import Registration
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.retention.erasure import Erasure
from app.tasks.retention.reminders import Reminder

# For each step: the cursor of the next step, and the number of deleted tasks.
Steps = AsyncGenerator[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserErasure:
    """Deletes all data of a user: voices, tasks in the queues, ended tasks, dead letters, the id in erased events."""

    registration: Registration
    erasure: Erasure
    forget_voices: Callable[[int | str], AsyncGenerator[None]]  # forgets all voices of a user, and yields after each
    delete_task: Callable[[str, ErasureReason], Awaitable[None]]  # deletes all data of the task with an id

    async def delete(self, request: UserRequest) -> Deleted:
        """Delete the voices and the tasks of a user, until all are deleted or REPLY_WITHIN_S is over.

        If some remain, `more_after` in the reply is the cursor from which the client's next request continues.

        Raises:
            RequestError: Some data could not be deleted.
        """
        deadline, count = time.monotonic() + REPLY_WITHIN_S, 0
        phases = {"queue": self._in_queues, "ended": self._ended, "dead_letters": self._dead_letters_of}
        first, _, cursor = (request.after or "queue-0").partition("-")
        after = int(cursor)
        for phase in list(phases)[list(phases).index(first) :]:
            async with aclosing(phases[phase](request.user_id, after)) as steps:
                async for after, deleted in steps:
                    count += deleted
                    if time.monotonic() > deadline:
                        return Deleted(tasks=count, more_after=f"{phase}-{after}")
            after = 0
        return Deleted(tasks=count)

    async def _in_queues(self, user_id: int | str, after: int) -> Steps:
        """Forget the voices of a user, then delete the user's waiting and running tasks.

        Yield after each step: the stream sequence up to which task messages have been searched, and how many tasks the
        step has deleted. `after`: the sequence that an earlier request has reached; 0: none.
        """
        async for step in self._voices(user_id, after):
            yield step
        async for messages in self.erasure.messages.pages_after(after):
            for message in messages:
                task, after = message.task, message.sequence
                if task is not None and task.user_id == user_id:
                    await self._delete_unended(task, message)
                    yield after, 1
            yield after, 0

    async def _delete_unended(self, task: Task, message: StoredMessage) -> None:
        """Delete a waiting or running task, to which `message` belongs.

        The task is registered first (its log gets a first event), because only registered tasks can be cancelled. If
        the task id belongs to another message, or the task was deleted just now, only the message is deleted.
        """
        try:
            await self.registration.register(task, message)
        except (ObsoleteMessageError, MessageGoneError):
            await self.erasure.messages.delete(message)
        else:
            await self._delete_if_known(task.task_id)

    async def _delete_if_known(self, task_id: str) -> None:
        """Delete a task; do nothing if it is unknown, because another request has just deleted it."""
        try:
            await self.delete_task(task_id, ErasureReason.USER)
        except RequestError as error:
            if error.detail.code is not ErrorCode.NOT_FOUND:
                raise

    async def _ended(self, user_id: int | str, after: int) -> Steps:
        """Delete the ended tasks of a user, then remove the user's id from the events of tasks erased earlier.

        Yield `(0, 1)` after each deleted task, and `(sequence, 0)` after each event, with its stream sequence. `after`:
        the sequence of the last event that an earlier request has reached; 0: tasks may be left.
        """
        if not after:
            async for step in self._ended_tasks(user_id):
                yield step
        async with aclosing(self.erasure.log.erased.without_user(user_id, after=after)) as sequences:
            async for sequence in sequences:
                yield sequence, 0

    async def _ended_tasks(self, user_id: int | str) -> Steps:
        """Delete the ended tasks of a user, which are found by their reminders; yield `(0, 1)` after each.

        A reminder is a scheduled message that JetStream delivers when the data of an ended task must be erased; its
        subject names the user. The yielded 1 is the number of deleted tasks. The yielded 0 is the cursor: a later
        request reads all remaining reminders of the user, because the reminders of deleted tasks no longer exist.
        """
        try:
            await self.erasure.reminders.wait_until_set()
        except TransientError as error:
            raise RequestError.of(error.detail) from error
        async for reminder in self.erasure.reminders.of_user(user_id):
            await self._delete_ended(reminder)
            yield 0, 1

    async def _delete_ended(self, reminder: Reminder) -> None:
        last = await self.erasure.log.last(reminder.task_id)
        if last is not None and last.metadata.owner.is_same_as(reminder.owner):
            await self._delete_if_known(reminder.task_id)
        else:  # the log has expired, and a later task may have its id
            await self.erasure.erase_remains(reminder, ErasureReason.USER if last is None else None)

    async def _dead_letters_of(self, user_id: int | str, after: int) -> Steps:
        """Delete the dead letters of a user's tasks; if such a task still has a log, delete all data of the task.

        After each dead letter, yield its stream sequence and how many tasks were deleted: 0 or 1 (0 for other users).
        Finally forget the user's voices again, because some may have been enrolled from these tasks in the meantime.
        `after`: only dead letters after this stream sequence.
        """
        async for page in self.erasure.dead_letters.pages(after=after):
            for sequence, dead_letter in page:
                deleted = _names(dead_letter, user_id) and await self._delete_dead_letter(sequence, dead_letter)
                yield sequence, int(deleted)
        async for step in self._voices(user_id, after):
            yield step

    async def _voices(self, user_id: int | str, after: int) -> Steps:
        async with aclosing(self.forget_voices(user_id)) as forgotten:
            async for _ in forgotten:
                yield after, 0

    async def _delete_dead_letter(self, sequence: int, dead_letter: DeadLetter) -> bool:
        """Delete a dead letter or, if its task still has a log, all data of the task, including the dead letter.

        Return whether the task had a log.
        """
        last = await self.erasure.log.last(dead_letter.task_id) if dead_letter.task_id else None
        if last is not None and last.metadata.task_sequence == dead_letter.stream_sequence:
            await self._delete_if_known(last.event.task_id)
            return True
        await self.erasure.dead_letters.delete_one(sequence)
        return False


def _names(dead_letter: DeadLetter, user_id: int | str) -> bool:
    """Return whether a dead letter's task message has the user id `user_id`; `1` and `"1"` are different users."""
    try:
        owner = parse_json_leniently(dead_letter.sent)["user_id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return type(owner) is type(user_id) and owner == user_id
