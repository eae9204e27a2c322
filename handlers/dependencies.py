"""Parameters that handlers get from FastStream's context: parts of the container, and the delivery of a task."""

from typing import Any

from fast_depends.library import CustomField


class FromContext(CustomField):
    """Looks up a parameter in FastStream's context, under the parameter's name.

    This class replaces FastStream's own `Context()`, which looks up each parameter in a separate thread. The threads
    add 2 ms to the start of each task (7.6 ms instead of 5.4 ms). A look-up in a coroutine needs no thread.
    """

    def __init__(self) -> None:
        super().__init__(cast=False)

    async def use(self, /, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # FastStream awaits it
        """Return the handler's arguments together with the value of this parameter.

        Raises:
            LookupError: The context holds nothing under this name.
        """
        name = self.param_name or ""
        value = kwargs["context__"].get(name)
        if value is None:
            raise LookupError(name)
        return kwargs | {name: value}
