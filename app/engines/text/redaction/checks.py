"""Check digits of card numbers, taxpayers' numbers (ИНН) and pension insurance numbers (СНИЛС)."""

from typing import Final

_INN_WEIGHTS: Final = (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
_CARD_DIGITS: Final = range(13, 20)
_SNILS_DIGITS: Final = 11


def is_card(digits: str) -> bool:
    """Return whether digits have the length and the check digit of a card number (Luhn)."""
    if len(digits) not in _CARD_DIGITS:
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_inn(digits: str) -> bool:
    """Return whether digits have the length and the check digits of a Russian taxpayer's number."""
    checked = {10: (9,), 12: (10, 11)}.get(len(digits), ())
    return bool(checked) and all(
        sum(weight * int(digit) for weight, digit in zip(_INN_WEIGHTS[-at:], digits, strict=False)) % 11 % 10
        == int(digits[at])
        for at in checked
    )


def is_snils(digits: str) -> bool:
    """Return whether digits have the length and the check digits of a Russian pension insurance number."""
    if len(digits) != _SNILS_DIGITS:
        return False
    total = sum(place * int(digit) for place, digit in zip(range(9, 0, -1), digits, strict=False)) % 101
    return total % 100 == int(digits[9:])
