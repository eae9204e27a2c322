"""All public names can be imported from `natscribe` itself."""

import inspect
import re
from importlib import import_module

import natscribe
import pytest
from natscribe import Client, ClientError
from natscribe.client import errors


@pytest.mark.parametrize("name", natscribe.__all__)
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(natscribe, name).__name__ == name


def test_the_types_of_the_clients_methods_are_public() -> None:
    # Given the signatures of the public methods
    methods = [method for name, method in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]
    written = " ".join(str(annotation) for method in methods for annotation in method.__annotations__.values())
    # When the classes of the package in them are collected
    ours = {match.group(1) for match in re.finditer(r"natscribe\.schemas\.\w+\.(\w+)", written)}
    assert {"TaskPage", "TaskStatus"} <= ours
    # Then each can be imported from the package, except the keywords of a task, which users do not name
    assert ours - set(natscribe.__all__) <= {"LiveKeywords", "SearchFilters", "TranscribeKeywords"}


def test_each_error_of_the_client_is_public() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert {name for name in defined if issubclass(getattr(errors, name), ClientError)} <= set(natscribe.__all__)


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'transcribe_everything'"):
        import_module("natscribe").__getattr__("transcribe_everything")
