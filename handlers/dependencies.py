"""Typed dependencies of handlers: FastStream passes components of the worker to them."""

from collections.abc import Awaitable, Callable, Iterable
from inspect import signature
from typing import Any, TypeVar, cast, get_type_hints

from fast_depends.dependencies import Dependant
from faststream import Depends
from faststream.nats import NatsBroker

from app.container import Container

T = TypeVar("T")


def depends(dependency: Callable[[], Awaitable[T]]) -> T:
    """Return FastStream's `Depends` as the default value of a handler's parameter, with the type that it provides."""
    return cast("T", Depends(dependency, cast=False, cast_result=False))


async def worker() -> object:
    """Return the container of the worker; `provide` replaces this dependency."""
    message = "call `provide` before the broker starts"
    raise LookupError(message)


class Part(Dependant):
    """A dependency of a handler, as `Depends` returns it: a component that `read` takes from a container."""

    def __init__(self, read: Callable[[Container], object]) -> None:
        async def component(container: Any = depends(worker)) -> object:  # a coroutine: others run in a thread
            return read(container)

        super().__init__(component, use_cache=False, cast=False, cast_result=False)
        self.read = read


def part(read: Callable[[Container], T]) -> T:
    """Return the default value of a handler's parameter; the handler gets the component that `read` returns instead.

    mypy compares the type of the parameter with that of the component.
    """
    return cast("T", Part(read))


def provide(broker: NatsBroker, container: Container, handlers: Iterable[Callable[..., object]]) -> None:
    """Let FastStream pass components of `container` to `handlers`, which are subscribed on `broker`.

    Raises:
        AttributeError: The container lacks a component.
        TypeError: A component is not of its parameter's type, or a parameter does not say which component it is.
    """

    async def of_worker() -> object:
        return container

    broker.provider.override(worker, of_worker)
    components = {type(component) for component in vars(container).values()} - {str}  # which a message may be
    for handler in handlers:
        kinds = get_type_hints(handler)
        for name, parameter in signature(handler).parameters.items():
            is_part = isinstance(parameter.default, Part)
            if is_part and not isinstance(parameter.default.read(container), kinds[name]):
                message = f"{handler.__qualname__}: `{name}` is no {kinds[name]}: correct its type or its `part`."
                raise TypeError(message)
            if not is_part and kinds[name] in components:
                message = f"{handler.__qualname__}: `{name}` has no default value: write `part`."
                raise TypeError(message)
