"""A part of the document: JSON, whose shape AsyncAPI 3 defines."""

from typing import Any

Node = dict[str, Any]
