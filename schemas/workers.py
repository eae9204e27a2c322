"""The workers: the request that each of them answers, and its reply."""

from pydantic import Field

from .wire import Input, Message, Model, Time


class WorkersRequest(Input):
    """Asks each worker what it is and whether it is well: it has no fields."""


class Problem(Message):
    """What is wrong, and what a person can do about it."""

    what: str = Field(
        description="What is wrong.", examples=["The consumer transcription_worker_transcription_high is paused"]
    )
    next_step: str = Field(
        description="What to do.",
        examples=[
            "Resume the consumer (nats consumer resume transcription_tasks transcription_worker_transcription_high)"
        ],
    )


class WorkerInfo(Message):
    """What one worker tells of itself."""

    worker: str = Field(
        description="Name of the worker, as `worker` in the events of the tasks that it runs.",
        examples=["gpu-1-4711-9f3c"],
    )
    version: str = Field(description="Version of the service.", examples=["0.2.0"])
    started_at: Time = Field(description="When the worker started.")
    idle: bool = Field(description="Whether the worker would begin a task at once.")
    model: Model | None = Field(description="The transcription model that is loaded; null: none is loaded now.")
    engine: str = Field(
        description="Device, precision and search of the loaded model; empty: none is loaded now.",
        examples=["cpu int8 beam 5"],
    )
    audio_store: str = Field(description="Where the worker looks for recordings.", examples=["nats://audio"])
    audio_store_answers: bool = Field(description="Whether the store of recordings answers the worker.")
    redis_answers: bool = Field(description="Whether Redis answers the worker.")
    problems: list[Problem] = Field(
        default_factory=list,
        description="What the worker finds wrong with the streams and consumers of the service and cannot mend.",
    )
