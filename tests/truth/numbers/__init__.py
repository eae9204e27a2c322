"""Texts with numbers, as an engine may write them, and the same texts with the numbers in digits.

The held-out texts were written before the rules, which were tuned to the others.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class NumberText:
    """A text, what it is with `numbers: digits`, and what kind of number it has; plain: none."""

    kind: str
    text: str
    digits: str


def number_texts(language: str, part: Literal["tuned", "held_out"]) -> list[NumberText]:
    lines = Path(__file__).with_name(f"{language}_{part}.txt").read_text(encoding="utf-8").splitlines()
    return [NumberText(*line.split(" | ")) for line in lines]
