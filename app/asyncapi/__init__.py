"""The AsyncAPI document: what FastStream finds in the code, plus what it leaves out."""

import io
import json

import yaml
from faststream.specification import AsyncAPI
from faststream.specification.base import Specification

from app.asyncapi.completion import complete
from app.asyncapi.node import Node
from app.settings import Settings


def document(version: str, settings: Settings) -> AsyncAPI:
    """The document of this version of the service, with the names and limits of this deployment."""
    found = _Document(
        title="Natscribe",
        version=version,
        license={"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        schema_version="3.0.0",
    )
    found.settings = settings
    return found


class _Document(AsyncAPI):
    """FastStream's document, completed: for `docs gen` and the page alike."""

    settings: Settings

    def to_specification(self) -> Specification:
        return _Completed(complete(super().to_specification().to_jsonable(), self.settings))


class _Completed:
    """A specification that is plain JSON."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def title(self) -> str:
        """The document's title."""
        return str(self._node["info"]["title"])

    def to_jsonable(self) -> Node:
        """The document as Python values."""
        return self._node

    def to_json(self) -> str:
        """The document as JSON."""
        return json.dumps(self._node, ensure_ascii=False)

    def to_yaml(self) -> str:
        """The document as YAML, one thing a line, nothing by reference to another line."""
        written = io.StringIO(newline="\n")
        plain = json.loads(self.to_json())
        yaml.dump(plain, written, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
        return written.getvalue()


class _Plain(yaml.SafeDumper):
    """Writes texts of several lines as a person would."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- the library's signature
        """Write what is there twice twice."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Write lines as lines."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Plain.add_representer(str, _Plain.represent_str)
