"""Messages between workers that share one long recording: not for clients."""

from typing import Annotated

from pydantic import Field

from .wire import Message, Model

Token = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{32}$",
        description="A random value that nobody can guess.",
        examples=["9f3c2b1a5d6e4f708192a3b4c5d6e7f8"],
    ),
]


class WindowsOffered(Message):
    """A worker has more windows than it can transcribe at once, and asks for helpers."""

    run: Token = Field(description="The transcription run that the windows belong to.")
    owner: Token = Field(description="The coordinator, which runs the task: its inbox is `windows.inbox.{owner}`.")
    model: Model = Field(description="The model that a helper must have loaded.")
    how: str = Field(
        "",
        max_length=100,
        description="Version and settings of the engine that a helper must have.",
        examples=["0.2.0 cpu int8 beam 5"],
    )
