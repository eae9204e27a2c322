"""The file of `--vocabulary`."""

from pathlib import Path

import pytest
import typer
from natscribe.cli.vocabulary import read_vocabulary


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "names.txt"


def test_there_is_a_term_a_line(file: Path) -> None:
    # Given terms among comments and blank lines, as a Windows editor writes them
    file.write_bytes("\ufeff# names\r\nNatscribe\r\n\r\n  Анна Ким \r\n #not this\r\nC#\r\n".encode())
    # When they are read, then only the terms are left
    assert read_vocabulary(file) == ("Natscribe", "Анна Ким", "C#")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# names\n\nshort\n" + "x" * 61, "line 4: a term has at most 60 characters"),
        ("\n".join(["# names", *map(str, range(102))]), "line 102: a vocabulary has at most 100 terms, and this is"),
        ("a\nb\tc\n", "line 2: write letters, without control characters"),
        ("a" * 1_000_001, "more than 1000000 characters: name a list"),
    ],
    ids=["a long term", "many terms", "a control character", "a large file"],
)
def test_a_wrong_line_is_named_with_what_is_allowed(file: Path, content: str, words: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(typer.BadParameter, match=words):
        read_vocabulary(file)


def test_100_terms_of_60_characters_are_allowed(file: Path) -> None:
    terms = [f"{number:060}" for number in range(100)]
    file.write_text("\n".join(terms), encoding="utf-8")
    assert read_vocabulary(file) == tuple(terms)


def test_what_is_no_text_is_refused(file: Path) -> None:
    # Given a file in another encoding
    file.write_bytes("имя\n".encode() + "имя\n".encode("cp1251"))
    # When it is read, then the line is named
    with pytest.raises(typer.BadParameter, match=r"line 2: this is not UTF-8"):
        read_vocabulary(file)


@pytest.mark.parametrize(("name", "words"), [("none.txt", "No such file"), ("", "Is a directory")])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"cannot be read: {words}"):
        read_vocabulary(tmp_path / name)


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="characters"):
        read_vocabulary(Path("/dev/zero"))
