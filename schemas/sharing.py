"""What workers say to each other about one long recording: not for clients."""

from typing import Annotated

from pydantic import Field

from schemas.wire import Message, Model

Token = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{32}$",
        description="Random, so that nobody hits upon it.",
        examples=["9f3c2b1a5d6e4f708192a3b4c5d6e7f8"],
    ),
]


class WindowsOffered(Message):
    """A worker has more windows than it can hear at once, and asks who helps."""

    run: Token = Field(description="The run over one recording that the windows belong to.")
    owner: Token = Field(description="The worker that has the task: its inbox is `windows.inbox.{owner}`.")
    model: Model = Field(description="Which model a helper must have loaded.")
    how: str = Field("", max_length=100, description="How it must hear.", examples=["0.1.0 cpu int8 beam 5"])
