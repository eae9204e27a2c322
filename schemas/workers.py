"""The request for the state of all workers, and the reply of each worker."""

from pydantic import Field

from .wire import Input, Message, Model, Time


class WorkersRequest(Input):
    """A request for the version and health of each worker; it has no fields."""


class Problem(Message):
    """A problem of the service or its servers, and what the operator should do."""

    what: str = Field(
        description="The problem.",
        examples=["NATS refuses to create the stream transcription_tasks (subjects overlap with an existing stream)"],
    )
    next_step: str = Field(
        description="What to do.",
        examples=["Delete the stream that has its subjects (nats stream ls --subjects, nats stream rm NAME)"],
    )


class WorkerInfo(Message):
    """The reply of one worker to a request for all workers: its version, model and health."""

    worker: str = Field(
        description="Name of the worker, as `worker` in the events of the tasks that it runs.",
        examples=["gpu-1-4711-9f3c"],
    )
    version: str = Field(description="Version of the service.", examples=["0.3.0"])
    started_at: Time = Field(description="When the worker started.")
    idle: bool = Field(description="Whether the worker would start a task at once.")
    model: Model | None = Field(
        description="The transcription model; null if the worker could not load it, or not yet."
    )
    models: list[str] | None = Field(
        None,
        description="Names that tasks may give as `model`; null: unknown, as of a worker of an earlier version.",
        examples=[["whisper-base"]],
    )
    engine: str = Field(
        description="Device, precision and search of the model; empty if there is none.",
        examples=["cpu int8 beam 5"],
    )
    audio_store: str = Field(description="Address of the store of recordings.", examples=["nats://audio"])
    audio_store_answers: bool = Field(description="Whether the store of recordings answers the worker.")
    redis_answers: bool = Field(description="Whether Redis answers the worker.")
    problems: list[Problem] = Field(
        default_factory=list,
        description="Problems of the streams and consumers of the service that the worker cannot repair.",
    )
