"""What handlers are given besides their message."""

from typing import Annotated, Any

from fast_depends.library import CustomField
from faststream.nats.message import NatsMessage


class Given(CustomField):
    """A part of the context, by the parameter's name: FastStream's own `Context()` takes a thread to look it up."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(cast=False)
        self._name = name

    async def use(self, /, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # awaited where it can be
        """Add the parameter to the others (LookupError)."""
        parameter = self.param_name or ""
        name = self._name or parameter
        found = kwargs["context__"].get(name)
        if found is None:
            raise LookupError(name)
        return kwargs | {parameter: found}


Message = Annotated[NatsMessage, Given("message")]
