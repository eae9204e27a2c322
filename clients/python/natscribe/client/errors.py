"""The exceptions of the client, whose messages say what to do next."""

from natscribe.client.command import resume_hint
from natscribe.schemas.errors import ErrorCode, ErrorDetail


class ClientError(Exception):
    """Base class of the client's exceptions; for rare failures, the client raises this class itself.

    `what`: what has failed. `next_step`: what to do about it; "" if that depends on the caller.
    """

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(f"{what}: {next_step}." if next_step else what)
        self.what = what
        self.next_step = next_step


class SettingsError(ClientError):
    """A setting in the environment is invalid; the message names it."""


class UnreachableError(ClientError):
    """NATS or the service does not reply; a later call may succeed."""


class NoServerError(UnreachableError):
    """No NATS server is reachable at `addresses`."""

    def __init__(self, addresses: str, next_step: str) -> None:
        super().__init__(f"No NATS server answers at {addresses}", next_step)
        self.addresses = addresses


class NoJetStreamError(UnreachableError):
    """NATS is reachable, but JetStream is not enabled."""

    def __init__(self) -> None:
        super().__init__("NATS answers, but has no JetStream", "start nats-server with -js, then the service")


class NoWorkerError(UnreachableError):
    """NATS is reachable, but no worker of the service is running."""


class NotAllowedError(ClientError):
    """NATS does not permit this user to publish or subscribe to a subject; the message names the users who may."""

    def __init__(
        self, user: str | None, subject: str, allowed: tuple[str, ...], *, action: str = "send requests to"
    ) -> None:
        super().__init__(
            f"NATS does not allow {_login(user)} to {action} {subject}",
            f"log in as {' or '.join(allowed)} (NATS_USER, NATS_PASSWORD and NATS_INBOX_PREFIX)",
        )


class InboxRefusedError(ClientError):
    """NATS does not permit this user to subscribe to inboxes with the prefix NATS_INBOX_PREFIX, so replies are lost."""

    def __init__(self, user: str | None, prefix: str) -> None:
        super().__init__(
            f"NATS does not allow {_login(user)} to receive replies under {prefix}",
            f"set NATS_INBOX_PREFIX to the user's own prefix, for instance _INBOX_{user or 'USER'}",
        )


def _login(user: str | None) -> str:
    return f"the user {user!r}" if user else "this login"


class QueueFullError(ClientError):
    """The task queue has reached its maximum length, so the task was not stored."""


class StorageFullError(ClientError):
    """JetStream cannot store the message: its storage limit is reached, or its disk is or was full."""

    def __init__(
        self, what: str, next_step: str = "the operator has to make some (runbook: StorageAlmostFull)"
    ) -> None:
        super().__init__(what, next_step)


class StorageStoppedError(StorageFullError):
    """JetStream replies but stores nothing: after its disk was full, it stores nothing until NATS is restarted."""

    def __init__(self, what: str, *, is_certain: bool = True) -> None:
        """Create the error; `what` names what JetStream does not store, e.g. "recordings".

        `is_certain`: whether NATS has reported that it cannot write. Otherwise, it has merely not acknowledged a
        message, and the message of this error says that a full disk may be the cause.
        """
        perhaps, if_so = ("", "") if is_certain else ("perhaps ", ", if it is full,")
        super().__init__(
            f"NATS answers, but does not store {what}, {perhaps}because its disk is or was full",
            f"the operator has to make room on the disk{if_so} and then restart NATS, which stores nothing after a "
            "full disk until its restart (runbook: StorageAlmostFull)",
        )


class RecordingError(ClientError):
    """The local recording cannot be read or uploaded."""


class OptionError(ValueError):
    """An option of a task or request is invalid; the message names the field and the valid values."""


class TaskIdTakenError(ClientError):
    """The task id is in use by another task, or was used by a task that was deleted less than two minutes ago."""


class OtherSenderError(ClientError):
    """Another program sends audio of the same live task, and NATS has stored its frame in place of the client's.

    Frames, i.e. messages of audio, are numbered; NATS drops a second frame with the same number as a duplicate.
    """

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"Another program sends audio of {task_id}, too, and NATS stores only one frame of each number",
            "stop one of the programs, or start another live transcription task here. If the other program has "
            f"stopped, {resume_hint(task_id)}",
        )


class TaskDeletedError(ClientError):
    """The task was deleted while the client followed its events."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task {task_id} was deleted while it was followed: nothing of it is stored.")


class RequestFailedError(ClientError):
    """The service has replied with an error; `code` and `message` are those of the reply."""

    def __init__(self, detail: ErrorDetail) -> None:
        super().__init__(detail.message)
        self.code: ErrorCode = detail.code
        self.message = detail.message
