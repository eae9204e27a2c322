"""Values of each kind of entity, as people write and say them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from random import Random
from typing import Final

from faker import Faker
from pymorphy3 import MorphAnalyzer

from benchmarks.redaction.spoken import below_100, recognized, spoken

_MONTHS: Final = {
    "en": "January February March April May June July August September October November December".split(),
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря".split(),
}
_EN_ORDINALS: Final = (
    "_ first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
_RU_ORDINALS: Final = (
    "_ первого второго третьего четвёртого пятого шестого седьмого восьмого девятого десятого одиннадцатого двенадцатого "
    "тринадцатого четырнадцатого пятнадцатого шестнадцатого семнадцатого восемнадцатого девятнадцатого двадцатого"
).split()
_TURNS: Final = {
    "en": (" Agent: Okay. Customer: ", " Agent: Got it. Customer: ", " uh ", ", then "),
    "ru": (" Оператор: Так. Клиент: ", " Оператор: Записал. Клиент: ", " э ", ", дальше "),
}
STYLES: Final = ("written", "spoken", "recognized", "written", "spoken", "turns", "corrected")
_CORRECTION: Final = {"en": "no, sorry,", "ru": "нет, простите,"}


class Values:
    """Makes values in one language; the same seed makes the same ones."""

    def __init__(self, language: str, seed: int, styles: Sequence[str] = STYLES) -> None:
        """Set up the generators; `styles`: how numbers may be said, one of them twice as often if it is named twice."""
        self._language = language
        self._styles = styles
        self._random = Random(seed)
        self._faker = Faker({"en": "en_US", "ru": "ru_RU"}[language])
        self._faker.seed_instance(seed)
        self._cards = Faker("en_US")
        self._cards.seed_instance(seed)
        self.is_recognized = False  # whether the last value is as a recognizer writes it
        self._of: Mapping[str, Callable[[], str]] = {
            "card": lambda: self._said(self._card(), _grouped((4, 4, 4, 4))),
            "phone": self._phone,
            "email": self._email,
            "iban": self._iban,
            "account": self._account,
            "routing": lambda: self._said(self._digits(9)),
            "bik": lambda: self._said("04" + self._digits(7)),
            "ssn": lambda: self._said(f"{self._random.randrange(100, 700)}{self._digits(6)}", _grouped((3, 2, 4), "-")),
            "nino": lambda: f"{self._random.choice(('AB', 'CE', 'JK'))} {_grouped((2, 2, 2))(self._digits(6))} C",
            "license": lambda: self._said(self._digits(10), _grouped((2, 2, 6))),
            "passport": self._passport,
            "inn": lambda: self._said(self._digits(12)),
            "inn10": lambda: self._said(self._digits(10)),
            "snils": lambda: self._said(self._digits(11), _snils),
            "dob": lambda: self._date(date(1940, 1, 1)),
            "date": lambda: self._date(date(2020, 1, 1)),
            "url": self._url,
            "username": lambda: str(self._faker.user_name()),
            "password": lambda: str(self._faker.password(special_chars=False)),
            "number": lambda: self._said(self._digits(self._random.randrange(4, 9))),
            "address": self._address,
            "person": self._person,
            "first_name": lambda: str(self._faker.first_name_female()),
            "last_name": lambda: str(self._faker.last_name_female()),
        }
        self._morphology = MorphAnalyzer()

    def of(self, kind: str, case: str | None = None) -> str:
        """Return another value of a kind; `case`: of a Russian name, such as `datv`."""
        self.is_recognized = False
        value = self._of[kind]()
        return " ".join(self._inflected(word, case) for word in value.split()) if case else value

    def _inflected(self, word: str, case: str) -> str:
        inflected = self._morphology.parse(word)[0].inflect({case, "sing"})
        return inflected.word.capitalize() if inflected else word

    def _said(self, digits: str, *written: Callable[[str], str]) -> str:
        style = self._random.choice(self._styles)
        if len(digits) < 9 and style in {"turns", "corrected", "recognized"}:
            style = "spoken"
        match style:
            case "written":
                ways: list[Callable[[str], str]] = [*written, str]
                return self._random.choice(ways)(digits)
            case "spoken":
                return spoken(digits, self._language, self._random)
            case "recognized":
                self.is_recognized = True
                return recognized(digits, self._random)
        say: Callable[[str], str] = self._random.choice(
            (lambda part: spoken(part, self._language, self._random), " ".join, str)
        )
        middle = len(digits) // 2
        if style == "corrected":
            wrong = digits[middle - 2] + str((int(digits[middle - 1]) + 1) % 10)
            first = f"{say(digits[: middle - 2])} {say(wrong)}"
            return f"{first} {_CORRECTION[self._language]} {say(digits[middle - 2 :])}"
        parts = [digits[at : at + 4] for at in range(0, len(digits), 4)]
        return self._random.choice(_TURNS[self._language]).join(map(say, parts))

    def _digits(self, count: int) -> str:
        return str(self._random.randrange(1, 10)) + "".join(str(self._random.randrange(10)) for _ in range(count - 1))

    def _card(self) -> str:
        return str(self._cards.credit_card_number("mastercard"))

    def _phone(self) -> str:
        if self._language == "en":
            area, rest = str(self._random.randrange(201, 990)), self._digits(7)
            american: tuple[Callable[[str], str], ...] = (
                lambda d: f"({d[:3]}) {d[3:6]}-{d[6:]}",
                lambda d: f"{d[:3]}-{d[3:6]}-{d[6:]}",
                lambda d: f"+1 {d[:3]} {d[3:6]} {d[6:]}",
                lambda d: f"{d[:3]}.{d[3:6]}.{d[6:]}",
            )
            return self._said(area + rest, *american)
        number = f"89{self._digits(9)}"
        russian: tuple[Callable[[str], str], ...] = (
            lambda d: f"+7 {d[1:4]} {d[4:7]}-{d[7:9]}-{d[9:]}",
            lambda d: f"8 ({d[1:4]}) {d[4:7]} {d[7:9]} {d[9:]}",
            lambda d: f"8-{d[1:4]}-{d[4:7]}-{d[7:]}",
        )
        return self._said(number, *russian)

    def _email(self) -> str:
        name, domain = (
            self._faker.user_name(),
            self._random.choice(("gmail.com", "yahoo.com", "mail.ru", "corp.example.org")),
        )
        if self._random.random() < 0.6:
            return f"{name}@{domain}"
        at, dot = {"en": ("at", "dot"), "ru": ("собака", "точка")}[self._language]
        first = self._faker.first_name().lower()
        last = self._faker.last_name().lower()
        return f"{first} {dot} {last} {at} {domain.replace('.', f' {dot} ')}"

    def _iban(self) -> str:
        iban = self._faker.iban()
        return self._random.choice((iban, " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))))

    def _account(self) -> str:
        if self._language == "en":
            return self._said(self._digits(self._random.randrange(8, 13)))
        return self._said(f"4081781{self._digits(13)}", _grouped((5, 3, 1, 4, 7)))

    def _passport(self) -> str:
        if self._language == "en":
            return self._said(self._digits(9))
        return self._said(self._digits(10), _grouped((2, 2, 6)), _grouped((4, 6)))

    def _date(self, earliest: date) -> str:
        day = earliest + timedelta(days=self._random.randrange(2000 if earliest.year > 2000 else 22000))
        month = _MONTHS[self._language][day.month - 1]
        if self._language == "en":
            ordinal = (
                _EN_ORDINALS[day.day]
                if day.day <= 20
                else f"{below_100(day.day - day.day % 10, 'en')} {_EN_ORDINALS[day.day % 10]}"
            )
            if day.day in {20, 30}:
                ordinal = "twentieth" if day.day == 20 else "thirtieth"
            year = f"{below_100(day.year // 100, 'en')} {below_100(day.year % 100, 'en')}"
            year = f"two thousand {below_100(day.year % 100, 'en')}" if day.year >= 2000 else year
            return self._random.choice(
                (
                    f"{month} {day.day}, {day.year}",
                    f"{day.day} {month} {day.year}",
                    f"{day:%m/%d/%Y}",
                    f"{day:%Y-%m-%d}",
                    f"{month} {ordinal}, {year}",
                    f"the {ordinal} of {month} {year}",
                )
            )
        ordinal = (
            _RU_ORDINALS[day.day]
            if day.day <= 20
            else f"двадцать {_RU_ORDINALS[day.day % 10]}"
            if day.day < 30
            else "тридцатого"
        )
        return self._random.choice(
            (
                f"{day.day} {month} {day.year} года",
                f"{day:%d.%m.%Y}",
                f"{day.day} {month} {day.year}",
                f"{ordinal} {month} {day.year} года",
            )
        )

    def _url(self) -> str:
        domain = self._faker.domain_name()
        dot = {"en": "dot", "ru": "точка"}[self._language]
        www = {"en": "w w w", "ru": "три дабл ю"}[self._language]
        return self._random.choice(
            (
                f"https://{domain}/{self._faker.uri_path()}",
                f"www.{domain}",
                domain,
                f"{www} {dot} {domain.replace('.', f' {dot} ')}",
            )
        )

    def _address(self) -> str:
        if self._language == "en":
            street = self._faker.street_address()
            return self._random.choice(
                (street, f"{street}, {self._faker.city()}, {self._faker.state_abbr()} {self._faker.zipcode()}")
            )
        street = f"{self._random.choice(('улица', 'проспект', 'переулок', 'ул.'))} {self._faker.last_name_female()}"
        house = self._random.randrange(1, 120)
        flat = self._random.randrange(1, 300)
        return self._random.choice(
            (f"{street}, дом {house}, квартира {flat}", f"{street}, д. {house}, кв. {flat}", f"{street} {house}")
        )

    def _person(self) -> str:
        first, last = self._faker.first_name(), self._faker.last_name()
        if self._language == "en":
            return self._random.choice((f"{first} {last}", first, f"{first} {last}"))
        men = self._random.random() < 0.5
        first = self._faker.first_name_male() if men else self._faker.first_name_female()
        middle = self._faker.middle_name_male() if men else self._faker.middle_name_female()
        last = self._faker.last_name_male() if men else self._faker.last_name_female()
        return self._random.choice((f"{first} {last}", first, f"{first} {middle}", f"{last} {first} {middle}"))


def _grouped(sizes: Sequence[int], separator: str = " ") -> Callable[[str], str]:
    def written(digits: str) -> str:
        parts, at = [], 0
        for size in sizes:
            parts.append(digits[at : at + size])
            at += size
        return separator.join([*parts, digits[at:]]).strip(separator)

    return written


def _snils(digits: str) -> str:
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:9]} {digits[9:]}"
