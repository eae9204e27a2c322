"""The AsyncAPI document: that of FastStream, completed with ids, streams, replies and examples."""

import json

import yaml
from faststream.specification import AsyncAPI
from faststream.specification.base import Specification

from app.asyncapi.completion import complete
from app.asyncapi.node import Node
from app.settings import Settings


def document(version: str, settings: Settings) -> AsyncAPI:
    """Make the AsyncAPI document of this version of the service, with the names and limits of this deployment."""
    specification = _Document(
        title="Natscribe",
        version=version,
        license={"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        schema_version="3.0.0",
    )
    specification.settings = settings
    return specification


class _Document(AsyncAPI):
    """FastStream's AsyncAPI document, completed; the command `docs gen` and the documentation page use this class."""

    settings: Settings

    def to_specification(self) -> Specification:
        return _Completed(complete(super().to_specification().to_jsonable(), self.settings))


class _Completed:
    """The completed AsyncAPI document, in the interface that FastStream expects of a specification."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def title(self) -> str:
        """The title of the AsyncAPI document."""
        return str(self._node["info"]["title"])

    def to_jsonable(self) -> Node:
        """The AsyncAPI document as Python values."""
        return self._node

    def to_json(self) -> str:
        """The AsyncAPI document as JSON."""
        return json.dumps(self._node, ensure_ascii=False)

    def to_yaml(self) -> str:
        """The AsyncAPI document as YAML."""
        plain = json.loads(self.to_json())  # copies shared parts: PyYAML would write them as anchors and aliases
        return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes a text of several lines as a block."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
