"""The file of the option `--vocabulary`."""

from pathlib import Path

import pytest
import typer
from natscribe.cli.vocabulary import read_vocabulary


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "names.txt"


def test_comments_and_blank_lines_are_skipped(file: Path) -> None:
    # Given terms among comments and blank lines, as a Windows editor writes them
    file.write_bytes("\ufeff# names\r\nNatscribe\r\n\r\n  Анна Ким \r\n #not this\r\nC#\r\n".encode())
    assert read_vocabulary(file) == ("Natscribe", "Анна Ким", "C#")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# names\n\nshort\n" + "x" * 61, "line 4: a term has at most 60 characters"),
        ("\n".join(["# names", *map(str, range(102))]), "line 102: a vocabulary has at most 100 terms, and this is"),
        ("a\nb\tc\n", "line 2: write letters, without control characters"),
        ("a" * 1_000_001, "more than 1000000 characters: name a list"),
    ],
    ids=["a long term", "many terms", "a control character", "a large file"],
)
def test_the_error_names_the_invalid_line_and_the_rule(file: Path, content: str, message: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(typer.BadParameter, match=message):
        read_vocabulary(file)


def test_100_terms_of_60_characters_are_allowed(file: Path) -> None:
    terms = [f"{number:060}" for number in range(100)]
    file.write_text("\n".join(terms), encoding="utf-8")
    assert read_vocabulary(file) == tuple(terms)


def test_a_file_in_another_encoding_is_refused(file: Path) -> None:
    file.write_bytes("имя\n".encode() + "имя\n".encode("cp1251"))
    with pytest.raises(typer.BadParameter, match=r"line 2: this is not UTF-8"):
        read_vocabulary(file)


@pytest.mark.parametrize(("name", "why"), [("none.txt", "No such file"), ("", "Is a directory")])
def test_an_unreadable_file_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"cannot be read: {why}"):
        read_vocabulary(tmp_path / name)


def test_an_endless_device_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="characters"):
        read_vocabulary(Path("/dev/zero"))
