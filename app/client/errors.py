"""What can go wrong for a client; every message says the next step."""

from schemas.errors import ErrorCode, ErrorDetail


class ClientError(Exception):
    """What was asked for was not done."""


class UnreachableError(ClientError):
    """Nobody is there to do it: NATS or the service does not run, or not here."""


class NoServerError(UnreachableError):
    """No NATS server answers at `place`."""

    def __init__(self, place: str, what_to_do: str) -> None:
        super().__init__(f"No NATS server answers at {place}: {what_to_do}.")
        self.place = place


class NoJetStreamError(UnreachableError):
    """NATS is there, but stores nothing."""

    def __init__(self) -> None:
        super().__init__("NATS answers, but has no JetStream: start nats-server with -js, then the service.")


class NoWorkerError(UnreachableError):
    """NATS is there, but no worker of the service."""


class QueueFullError(ClientError):
    """The task queue holds as many tasks as it may."""


class RecordingError(ClientError):
    """The recording cannot be handed to the service."""


class OptionError(ValueError):
    """An option cannot be: the message names its field and what is allowed."""


class TaskIdTakenError(ClientError):
    """The task id stands for another task, or did so a moment ago."""


class TaskDeletedError(ClientError):
    """Nothing is left of the task."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task {task_id} was deleted while it was followed: nothing is left of it.")


class RequestFailedError(ClientError):
    """The service answered with an error."""

    def __init__(self, detail: ErrorDetail) -> None:
        super().__init__(detail.message)
        self.code: ErrorCode = detail.code
        self.message = detail.message
