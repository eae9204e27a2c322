"""The AsyncAPI document: the registry of channels, with schemas, examples and the settings of JetStream."""

import json
from importlib.resources import files

import yaml
from faststream.specification import AsyncAPI
from faststream.specification.base import Specification

from app.document import info, jetstream
from app.document.channels import channels, descriptions, operations, parameters
from app.document.messages import MESSAGES, Node, schemas
from app.settings import Settings


class Document(AsyncAPI):
    """The AsyncAPI document of the service, with the stream names and limits of this deployment's settings.

    `faststream docs gen` and the documentation page both read it from `to_specification`. FastStream adds the
    application's broker, whose channels have to be those of the registry.
    """

    def __init__(self, version: str, settings: Settings) -> None:
        super().__init__(title="Natscribe", version=version)
        self.settings = settings

    def to_specification(self) -> Specification:
        """Return the document.

        Raises:
            LookupError: The application lacks a channel of the registry, or has a channel that is not in the registry.
        """
        described = descriptions(self.brokers)
        document: Node = yaml.safe_load(files(__package__).joinpath("fixed.yaml").read_text(encoding="utf-8"))
        fixed = document.pop("components")
        components = {
            "messages": {message.name: message.node for message in MESSAGES},
            "schemas": schemas(),
            "parameters": parameters() | fixed.pop("parameters"),
        }
        return _Completed(
            document
            | {
                "info": document["info"] | info.info(self.title, self.version, self.settings),
                "channels": channels(described, self.settings),
                "operations": operations(described),
                "components": components | fixed,
                "x-nats": {"objectStoreBuckets": dict(jetstream.buckets(self.settings))},
            }
        )


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
