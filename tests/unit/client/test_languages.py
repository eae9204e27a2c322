"""Language codes from what people write."""

import re

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES
from natscribe.client import OptionError
from natscribe.client.languages import OTHER_CODES, language_code


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        (" en-US ", "en"),
        ("pt_BR.UTF-8", "pt"),
        ("zh-Hans-CN", "zh"),
        ("yue", "yue"),
        ("English", "en"),
        ("РУССКИЙ", "ru"),
        ("francais", "fr"),
        ("nb-NO", "no"),
        ("Norwegian Bokmål", "no"),
        ("fil-PH", "tl"),
        ("iw_IL", "he"),
        ("xx", "xx"),
    ],
)
def test_a_language_is_a_code_a_locale_or_a_name(written: str, code: str) -> None:
    assert language_code(written) == code


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("Engelsh", ", did you mean English (en)?"),
        ("russkij", ", did you mean Russian (ru)?"),
        ("", ""),
        ("en US", ""),
    ],
)
def test_the_error_of_an_unknown_language_suggests_similar_names(written: str, near: str) -> None:
    # When a language is unknown, then the error says what is allowed, and suggests names
    words = f"language: use a code of ISO 639-1, like en, or a name, like English{near}"
    with pytest.raises(OptionError, match=f"^{re.escape(words)}$"):
        language_code(written)


@pytest.mark.parametrize("written", [5, ["en"], b"en"])
def test_a_language_must_be_text(written: object) -> None:
    with pytest.raises(OptionError, match=r"^language: use a code of ISO 639-1, like en, or a name, like English$"):
        language_code(written)


def test_each_other_code_means_a_language_that_whisper_knows() -> None:
    assert set(OTHER_CODES.values()) <= set(_LANGUAGE_CODES)
    assert not OTHER_CODES.keys() & set(_LANGUAGE_CODES)
