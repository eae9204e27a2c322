"""Numbers as people say them digit by digit or in groups, and as speech recognition writes them."""

from random import Random
from typing import Final

_EN_UNITS: Final = "zero one two three four five six seven eight nine".split()
_EN_TEENS: Final = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_EN_TENS: Final = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_RU_UNITS: Final = "ноль один два три четыре пять шесть семь восемь девять".split()
_RU_TEENS: Final = (
    "десять одиннадцать двенадцать тринадцать четырнадцать пятнадцать шестнадцать семнадцать восемнадцать девятнадцать"
).split()
_RU_TENS: Final = "_ _ двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто".split()
_RU_HUNDREDS: Final = "_ сто двести триста четыреста пятьсот шестьсот семьсот восемьсот девятьсот".split()
_UNITS: Final = {"en": _EN_UNITS, "ru": _RU_UNITS}
_TEENS: Final = {"en": _EN_TEENS, "ru": _RU_TEENS}
_TENS: Final = {"en": _EN_TENS, "ru": _RU_TENS}


def spoken(number: str, language: str, random: Random) -> str:
    """Return digits in words: one by one, in pairs, with doubles, or, in Russian, in hundreds."""
    digits = [character for character in number if character.isdigit()]
    style = random.choice(("single", "pairs", "doubles" if language == "en" else "hundreds", "single"))
    if style == "hundreds":
        return " ".join(_in_hundreds("".join(digits), random))
    said, at = [], 0
    while at < len(digits):
        pair = "".join(digits[at : at + 2])
        if style == "pairs" and len(pair) == 2 and pair[0] != "0":
            said.append(below_100(int(pair), language))
            at += 2
        elif style == "doubles" and len(pair) == 2 and pair[0] == pair[1]:
            said.append(f"double {_digit(pair[0], language, random)}")
            at += 2
        else:
            said.append(_digit(digits[at], language, random))
            at += 1
    return random.choice((" ", " ", ", ")).join(said)


def recognized(number: str, random: Random) -> str:
    """Return digits as recognizers write those that were said one by one: odd separators, one missing or doubled."""
    digits = [character for character in number if character.isdigit()]
    at = random.randrange(1, len(digits))
    match random.choice(("exact", "missing", "doubled")):
        case "missing":
            del digits[at]
        case "doubled":
            digits.insert(at, digits[at])
    mixed = random.choice((" ", ", ", "-", None))
    separators = (mixed if mixed is not None else random.choice((" ", ", ", "-", "")) for _ in digits[1:])
    return digits[0] + "".join(separator + digit for separator, digit in zip(separators, digits[1:], strict=True))


def below_100(number: int, language: str) -> str:
    """Return a number below 100 in words."""
    tens, unit = divmod(number, 10)
    if tens == 0:
        return _UNITS[language][unit]
    if tens == 1:
        return _TEENS[language][unit]
    return _TENS[language][tens] + (f" {_UNITS[language][unit]}" if unit else "")


def _digit(digit: str, language: str, random: Random) -> str:
    if digit == "0" and language == "en" and random.random() < 0.5:
        return "oh"
    return _UNITS[language][int(digit)]


def _in_hundreds(digits: str, random: Random) -> list[str]:
    said, at = [], 0
    while at < len(digits):
        size = min(random.choice((2, 3, 3)), len(digits) - at)
        part, at = digits[at : at + size], at + size
        while part.startswith("0") or part == "0":
            said.append("ноль")
            part = part[1:]
        if len(part) == 3:
            said.append(_RU_HUNDREDS[int(part[0])])
            part = part[1:].lstrip("0")
        if part:
            said.append(below_100(int(part), "ru"))
    return said
