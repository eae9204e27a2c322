"""Which conversations ``make_talk.py`` makes: who speaks, and what makes it hard to tell them apart."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE, TWENTY_MINUTES = 60.0, 1200.0  # seconds


@dataclass(frozen=True)
class Scene:
    """A conversation; lengths and pauses are in seconds, loudness is in decibels.

    Sentences have `lengths`, and come after `pauses`. `overlaps` and `listens`: how often a
    person begins before the last one has ended, and says a word while another one speaks. `apart`: between the loudest
    and the quietest person; `drift`: between the loudest and the quietest sentence of one person. `noise`: how far
    below the speech; `echo`: how long until a sound has faded away. `line`: over the telephone.
    """

    name: str
    people: tuple[str, ...]
    seconds: float = 90.0
    lengths: tuple[float, float] = (0.6, 3.5)
    pauses: tuple[float, float] = (0.1, 0.8)
    overlaps: float = 0.0
    listens: float = 0.0
    apart: float = 3.0
    drift: float = 3.0
    noise: float = 55.0
    echo: float = 0.0
    line: bool = False
    suffix: str = ".flac"


REPOSITORY = (
    Scene("two-women", ("allison", "ivrvoice"), MINUTE, lengths=(0.8, 4.0), suffix=".ogg"),
    Scene("phone", ("carlo", "june"), MINUTE, lengths=(0.8, 5.0), line=True, suffix=".wav"),
)

LONG = (2.0, 9.0)  # seconds of one sentence
CHOOSE = (
    Scene("two-short", ("allison", "ivrvoice")),
    Scene("two-women-of-one-language", ("june", "armelle")),
    Scene("two-with-yes", ("june", "carlo"), lengths=(1.5, 7.0), listens=0.5),
    Scene("two-loud-and-quiet", ("allison", "carlo"), lengths=(1.0, 6.0), apart=15.0, drift=8.0),
    Scene("two-in-noise", ("allison", "ivrvoice"), lengths=(1.0, 6.0), noise=15.0),
    Scene("two-in-a-room", ("june", "carlo"), lengths=(1.0, 6.0), echo=0.35, noise=30.0),
    Scene("two-gsm", ("avatar", "german")),
    Scene("phone-short", ("allison", "ivrvoice"), line=True),
    Scene("phone-gsm", ("menardi", "german"), lengths=(1.0, 6.0), line=True, noise=30.0, apart=10.0),
    Scene("phone-with-yes", ("allison", "carlo"), lengths=(1.5, 7.0), listens=0.4, line=True),
    Scene("readers", ("librivox", "avatar"), lengths=(0.6, 7.0)),
    Scene("three-overlapping", ("allison", "carlo", "ivrvoice"), lengths=(1.0, 6.0), overlaps=0.33),
    Scene("four-short", ("allison", "carlo", "ivrvoice", "june"), 120.0, overlaps=0.2, apart=8.0),
    Scene("six", ("allison", "carlo", "ivrvoice", "june", "german", "avatar"), 180.0, lengths=(0.8, 6.0), overlaps=0.2),
    Scene("one-in-two-languages", ("allison", "allison es"), lengths=(0.8, 6.0), drift=8.0),
    Scene("one-louder-and-quieter", ("ivrvoice",), lengths=LONG, drift=20.0),
    Scene("one-alone", ("june",), TWENTY_MINUTES, lengths=LONG, drift=8.0, suffix=".ogg"),
)
CHECK = (
    Scene("two-short", ("allison", "june")),
    Scene("two-women-of-one-language", ("allison es", "avatar")),
    Scene("two-with-yes", ("ivrvoice", "carlo"), lengths=(1.5, 7.0), listens=0.5),
    Scene("two-loud-and-quiet", ("ivrvoice", "june"), lengths=(1.0, 6.0), apart=15.0, drift=8.0),
    Scene("two-in-noise", ("ivrvoice", "carlo"), lengths=(1.0, 6.0), noise=15.0),
    Scene("two-in-a-room", ("allison", "june"), lengths=(1.0, 6.0), echo=0.35, noise=30.0),
    Scene("two-gsm", ("armelle", "german")),
    Scene("phone-short", ("ivrvoice", "june"), line=True),
    Scene("phone-gsm", ("avatar", "armelle"), lengths=(1.0, 6.0), line=True, noise=30.0, apart=10.0),
    Scene("phone-with-yes", ("ivrvoice", "carlo"), lengths=(1.5, 7.0), listens=0.4, line=True),
    Scene("readers", ("two_cities", "beckett"), lengths=(0.6, 7.0)),
    Scene("three-overlapping", ("june", "ivrvoice", "allison es"), lengths=(1.0, 6.0), overlaps=0.33),
    Scene("four-short", ("menardi", "ivrvoice", "june", "avatar"), 120.0, overlaps=0.2, apart=8.0),
    Scene("five", ("allison", "carlo", "ivrvoice", "armelle", "menardi"), 150.0, lengths=(0.8, 6.0), overlaps=0.33),
    Scene("one-in-two-languages", ("allison es", "allison"), lengths=(1.5, 7.0), drift=3.0, line=True),
    Scene("one-louder-and-quieter", ("carlo",), lengths=LONG, drift=20.0),
    Scene("one-alone", ("carlo",), TWENTY_MINUTES, lengths=LONG, drift=8.0, suffix=".ogg"),
)
HALVES = {"choose": CHOOSE, "check": CHECK}
