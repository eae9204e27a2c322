"""E-mail and web addresses, written or spoken, IBANs, streets, user names and passwords."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from natscribe.schemas.redaction import EntityType

from app.engines.text.redaction.digit_runs import Run
from app.engines.text.redaction.found import Found
from app.engines.text.redaction.lexicon import NO_LOCAL, NO_SECRET, STREETS

Place = tuple[int, int]  # where it starts and ends in the text

_HOUSE_DIGITS: Final = 6
_REACH: Final = 64  # characters before and after the mark of an address that may belong to it
_DOT: Final = r"(?:\.|\s(?:dot|точка)\s)"
_JOIN: Final = (
    r"(?:[.\-_+]|\s?(?:\bdot\b|\bunderscore\b|\bdash\b|\bhyphen\b|\bminus\b|\bplus\b|точка|дефис|тире|минус|"
    r"(?:нижнее\s)?подч[её]ркивание)\s?)"
)
_AT: Final = re.compile(
    r"\s?@\s?|\s\(?at\)?\s(?=[\w-]+(?:\s[\w-]+)?\s?(?:\.|dot\b))|\s(?:собака|собачка|эт)\s", re.IGNORECASE
)
_LOCAL: Final = re.compile(rf"(?:(?<![\w'’])\w(?:\s\w)*\s)?[\w]+(?:{_JOIN}\w+)*$", re.IGNORECASE)
_DOMAIN: Final = re.compile(rf"[\w-]+(?:\s[\w-]+)?(?:{_DOT}\w+)+", re.IGNORECASE)
_TLD: Final = r"(?:com|org|net|info|biz|edu|gov|io|ru|su|uk|de|fr|us|eu|рф|ру|ком|орг|нет|инфо|биз)"
_ENDS: Final = re.compile(rf"(?:\.|\s){_TLD}$", re.IGNORECASE)
_WRITTEN_URL: Final = re.compile(
    rf"(?i:https?://)\S+|(?<![\w.@])(?i:www\.)\S+|(?<![\w@.-])(?:[\w-]{{1,63}}\.){{1,5}}{_TLD}\b(?::\d+)?(?:[/?#]\S*)?"
)
_MAIL_HOST: Final = re.compile(r"g?mail|yahoo|outlook|yandex|icloud|proton", re.IGNORECASE)
_MAIL: Final = re.compile(  # that an address is one of e-mail, although the recognizer has lost the "at"
    r"(?<!\w)(?:e-?mails?|mail(?:ed|box)?|inbox|(?:send|sent|write|wrote)\b.{0,30}\bto|почт\w+|имейл\w*|ящик\w*|"
    r"\w*(?:пиш|писа|шли|сла)\w*\b.{0,20}\bна)\W+(?:\w+\W+){0,4}$",
    re.IGNORECASE,
)
_SPOKEN_TLD: Final = re.compile(rf"\s(?:dot|точка)\s{_TLD}\b(?:\s(?:slash|слэш|слеш)\s\w+)*", re.IGNORECASE)
_SPOKEN_HOST: Final = re.compile(
    r"(?:(?:w\s?w\s?w|три дабл ю|вэ вэ вэ)\s(?:dot|точка)\s)?"
    r"[\w-]+(?:\s(?:dot|dash|hyphen|точка|дефис|тире)\s[\w-]+)*$",
    re.IGNORECASE,
)
_IBAN: Final = re.compile(r"(?<!\w)[A-Z]{2}\s?\d\d(?:[\s-]?[A-Z0-9]){11,30}(?!\w)")
_NINO: Final = re.compile(r"(?<!\w)[A-Z]{2}\s?\d\d\s?\d\d\s?\d\d\s?[A-D](?!\w)", re.IGNORECASE)
_DOCUMENT: Final = re.compile(  # an identity document with letters in its number
    r"(?<!\w)(?:passport|licen[cs]e|identity card|id card)(?:\W{1,3}[A-Za-z']+){0,3}?\W{1,3}"
    r"(?P<value>(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z\d]{6,20})(?!\w)"
)
_TRAILING: Final = ".,;:!?)»\"'"
_EN_STREET: Final = re.compile(
    rf"\s(?:(?:[A-Z][\w'’]*\s){{1,3}}(?:{STREETS['en']})\b|(?:(?!(?:the|of|on|a|in|my|this|down)\b)[a-z]+\s){{1,2}}"
    r"(?i:street|avenue|road|boulevard|lane|drive)\b)\.?(?i:,?\s(?:apt|apartment|suite|unit|flat)\.?\s\w+)?"
    r"(?:,\s[A-Z][\w ]{1,30},\s[A-Z]{2}\s\d{5})?"
)
_HOUSE: Final = (
    r"(?:,?\s(?:(?:дом|д|корпус|корп|к|строение|стр|квартира|кв|офис|подъезд|этаж)\.?\s?)?(?:\d{1,4}(?:[а-я]\b|/\d+)?"
    r"|(?:(?:один|два|три|четыре|пять|шесть|семь|восемь|девять|сто|двести|\w+дцать|сорок|\w+десят|девяносто)\b\s?){1,3}))"
)
_RU_STREET: Final = re.compile(
    rf"(?<!\w)(?:(?:{STREETS['ru']})\.?\s(?:[\w-]+\s){{0,2}}?[А-ЯЁа-яё-]+|[А-ЯЁ][\w-]+\s(?:{STREETS['ru']})){_HOUSE}{{1,4}}",
    re.IGNORECASE,
)
_SECRET: Final = re.compile(
    r"(?<!\w)(?P<name>pass\s?word|pass\s?phrase|user\s?name|user\sid|log\s?in|парол[ьяе]|логин[ае]?|имя пользователя)"
    r"(?P<link>(?:\s(?:is|was|это|такой)\b|\s?[:=—-]|,\s(?:it's|it is|это))*)\s(?P<value>\w(?:\s\w\b)+|\S+)",
    re.IGNORECASE,
)


def addresses(text: str, runs: Iterable[Run]) -> Iterator[Found]:
    """Yield what is no number alone; a house number is the last of `runs` before its street."""
    for type_, places, score in (
        (EntityType.EMAIL, _emails(text), 0.95),
        (EntityType.URL, _urls(text), 0.9),
        (EntityType.BANK_ACCOUNT, (match.span() for match in _IBAN.finditer(text)), 0.95),
        (EntityType.NATIONAL_ID, (match.span() for match in _NINO.finditer(text)), 0.85),
        (EntityType.NATIONAL_ID, (match.span("value") for match in _DOCUMENT.finditer(text)), 0.85),
        (EntityType.ADDRESS, _streets(text, runs), 0.8),
        (EntityType.USERNAME_PASSWORD, _secrets(text), 0.85),
    ):
        for start, end in places:
            yield Found(type_, ((start, end),), score, re.sub(r"\W+", "", text[start:end].casefold()))


def _streets(text: str, runs: Iterable[Run]) -> Iterator[Place]:
    for run in runs:
        if len(run.digits) <= _HOUSE_DIGITS and (street := _EN_STREET.match(text, run.end)):
            yield run.start, street.end()
    for match in _RU_STREET.finditer(text):
        yield match.span()


def _secrets(text: str) -> Iterator[Place]:
    for match in _SECRET.finditer(text):
        if length := _secret_length(match, text):
            yield match.start("value"), match.start("value") + length


def _secret_length(match: re.Match[str], text: str) -> int:
    """Return the length of the value after a word such as `password`; 0: it is just another word of the sentence."""
    value = match["value"].rstrip(_TRAILING)
    if not value or value.casefold() in NO_SECRET:
        return 0
    is_foreign = value.isascii() and not match["name"].isascii()
    is_odd = not value.isalpha() or not (value.islower() or value.istitle())
    ends = match["name"].casefold().startswith(("user", "log")) and match.end("value") > match.start("value") + len(
        value
    )
    return len(value) if match["link"] or is_foreign or is_odd or ends or match.end() == len(text) else 0


def _emails(text: str) -> Iterator[Place]:
    for mark in _AT.finditer(text):
        local = _LOCAL.search(text[max(mark.start() - _REACH, 0) : mark.start()])
        domain = _DOMAIN.match(text, mark.end(), mark.end() + _REACH)
        if local and domain and _is_address(mark.group(), local.group(), domain.group()):
            yield mark.start() - len(local.group()), domain.end()
    for start, end in _urls(text):
        is_page = text.startswith(("http", "www."), start) or "/" in text[start:end]
        before = text[max(start - _REACH, 0) : start]
        if not is_page and (_MAIL_HOST.search(text, start, end) or _MAIL.search(before)):
            yield start, end


def _is_address(mark: str, local: str, domain: str) -> bool:
    """Return whether the parts of an address are none of a sentence such as "I am at home.Call me"."""
    is_known = "@" in mark or _ENDS.search(domain)
    return bool(is_known) and local.casefold().split()[-1] not in NO_LOCAL and domain[-2:].isalpha()


def _urls(text: str) -> Iterator[Place]:
    for match in _WRITTEN_URL.finditer(text):
        yield match.start(), match.start() + len(match.group().rstrip(_TRAILING))
    for match in _SPOKEN_TLD.finditer(text):
        host = _SPOKEN_HOST.search(text[max(match.start() - _REACH, 0) : match.start()])
        if host:
            yield match.start() - len(host.group()), match.end()
