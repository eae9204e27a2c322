"""Times, sizes, counts and shares are more than nothing: a worker would never wait, or refuse everything."""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

import pytest

import app

BELOW_ZERO = {
    "UNASSIGNED",
    "_NONE",
    "PIPE",
    "RECONNECT_WITHOUT_LIMIT",
    "_MIN_LOGPROB",
    "_DOUBTFUL",
    "FIRST",
    "_BANDS",
    "_AT_EDGE",
}  # no number, a logarithm, or a position
MODULES = [module.name for module in pkgutil.walk_packages(app.__path__, "app.")]


def numbers(value: object) -> Iterator[float]:
    """The numbers that a constant has."""
    match value:
        case bool():
            return
        case int() | float():
            yield value
        case timedelta():
            yield value.total_seconds()
        case tuple() | list():
            for item in value:
                yield from numbers(item)
        case Mapping():
            yield from numbers(list(value.values()))


@pytest.mark.parametrize("name", MODULES)
def test_every_number_of_a_module_is_more_than_nothing(name: str) -> None:
    constants = {
        constant: list(numbers(value))
        for constant, value in vars(importlib.import_module(name)).items()
        if re.fullmatch(r"_?[A-Z][A-Z0-9_]*", constant) and constant not in BELOW_ZERO
    }
    assert {constant: values for constant, values in constants.items() if any(number <= 0 for number in values)} == {}
    sizes = [number for constant, values in constants.items() if "BYTES" in constant for number in values]
    assert [size for size in sizes if size % 1] == []
