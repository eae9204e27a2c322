"""The AsyncAPI document: FastStream generates it, and this package adds channel ids, streams, replies and examples."""

import json

import yaml
from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI
from faststream.specification.base import Specification

from app.asyncapi.completion import complete
from app.asyncapi.node import Node
from app.settings import Settings


def document(version: str, settings: Settings, declared: NatsBroker) -> AsyncAPI:
    """Create the AsyncAPI document of the service, with the stream names and limits of this deployment's `settings`.

    It has the channels of the application's broker, to which FastStream adds those of `declared`, a broker that is
    never started.
    """
    specification = _Document(
        declared,
        title="Natscribe",
        version=version,
        license={"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        schema_version="3.0.0",
    )
    specification.settings = settings
    return specification


class _Document(AsyncAPI):
    """Generates FastStream's AsyncAPI document, and lets `complete` add ids, streams, replies and examples.

    `faststream docs gen` and the documentation page both read the completed document from `to_specification`.
    """

    settings: Settings

    def to_specification(self) -> Specification:
        return _Completed(complete(super().to_specification().to_jsonable(), self.settings))


class _Completed:
    """The completed AsyncAPI document, with the methods that FastStream calls on a specification."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def title(self) -> str:
        """The title of the AsyncAPI document."""
        return str(self._node["info"]["title"])

    def to_jsonable(self) -> Node:
        """Return the AsyncAPI document as dictionaries, lists and scalars."""
        return self._node

    def to_json(self) -> str:
        """Return the AsyncAPI document as JSON."""
        return json.dumps(self._node, ensure_ascii=False)

    def to_yaml(self) -> str:
        """Return the AsyncAPI document as YAML."""
        plain = json.loads(self.to_json())  # copies shared parts: PyYAML would write them as anchors and aliases
        return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes a string of several lines as a literal block (`|`)."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
