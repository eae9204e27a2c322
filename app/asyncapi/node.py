"""The type of a part of the AsyncAPI document: a JSON object as AsyncAPI 3 defines it."""

from typing import Any

Node = dict[str, Any]
