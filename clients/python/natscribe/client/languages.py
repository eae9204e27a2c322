"""Finds the code of a language by what people write: `EN`, `en-US`, `English`, `русский`."""

import re
import unicodedata
from difflib import get_close_matches
from typing import Final

from natscribe.client.errors import OptionError

# The languages of Whisper: the code, the English name, then other names, first the language's own.
_NAMES = """
af Afrikaans
am Amharic, አማርኛ
ar Arabic, العربية
as Assamese, অসমীয়া
az Azerbaijani, azərbaycan
ba Bashkir, башҡорт
be Belarusian, беларуская
bg Bulgarian, български
bn Bengali, বাংলা, Bangla
bo Tibetan, བོད་སྐད་
br Breton, brezhoneg
bs Bosnian, bosanski
ca Catalan, català, Valencian
cs Czech, čeština, česky
cy Welsh, Cymraeg
da Danish, dansk
de German, Deutsch
el Greek, ελληνικά
en English
es Spanish, español, Castilian, castellano
et Estonian, eesti
eu Basque, euskara
fa Persian, فارسی, Farsi
fi Finnish, suomi
fo Faroese, føroyskt
fr French, français
gl Galician, galego
gu Gujarati, ગુજરાતી
ha Hausa
haw Hawaiian
he Hebrew, עברית
hi Hindi, हिन्दी
hr Croatian, hrvatski
ht Haitian Creole, kreyòl ayisyen, Haitian
hu Hungarian, magyar
hy Armenian, հայերեն
id Indonesian, Bahasa Indonesia
is Icelandic, íslenska
it Italian, italiano
ja Japanese, 日本語
jw Javanese, basa Jawa
ka Georgian, ქართული
kk Kazakh, қазақ
km Khmer, ខ្មែរ, Cambodian
kn Kannada, ಕನ್ನಡ
ko Korean, 한국어
la Latin
lb Luxembourgish, Lëtzebuergesch
ln Lingala, lingála
lo Lao, ລາວ
lt Lithuanian, lietuvių
lv Latvian, latviešu
mg Malagasy
mi Maori, te reo Māori
mk Macedonian, македонски
ml Malayalam, മലയാളം
mn Mongolian, монгол
mr Marathi, मराठी
ms Malay, Bahasa Melayu
mt Maltese, Malti
my Burmese, မြန်မာ, Myanmar
ne Nepali, नेपाली
nl Dutch, Nederlands, Flemish, Vlaams
nn Nynorsk, Norwegian Nynorsk
no Norwegian, norsk, bokmål, Norwegian Bokmål
oc Occitan
pa Punjabi, ਪੰਜਾਬੀ, Panjabi
pl Polish, polski
ps Pashto, پښتو
pt Portuguese, português
ro Romanian, română, Moldovan
ru Russian, русский
sa Sanskrit, संस्कृतम्
sd Sindhi, سنڌي
si Sinhala, සිංහල, Sinhalese
sk Slovak, slovenčina
sl Slovenian, slovenščina, Slovene
sn Shona, chiShona
so Somali, Soomaali
sq Albanian, shqip
sr Serbian, српски, srpski
su Sundanese, basa Sunda
sv Swedish, svenska
sw Swahili, Kiswahili
ta Tamil, தமிழ்
te Telugu, తెలుగు
tg Tajik, тоҷикӣ
th Thai, ไทย
tk Turkmen
tl Tagalog, Filipino
tr Turkish, Türkçe
tt Tatar, татар
uk Ukrainian, українська
ur Urdu, اردو
uz Uzbek
vi Vietnamese, Tiếng Việt
yi Yiddish, ייִדיש
yo Yoruba, Yorùbá
yue Cantonese, 粵語, 广东话
zh Chinese, 中文, Mandarin
"""
OTHER_CODES: Final = {"nb": "no", "jv": "jw", "fil": "tl", "iw": "he", "in": "id"}  # codes that Whisper does not know
_CODE = re.compile(r"([A-Za-z]{2,3})([-_.@].*)?")  # with the rest of a locale: en-US, pt_BR, zh-Hans
_LIKE = 0.7  # names that are less alike are no advice
_MOST_NAMED = 3


def language_code(written: object) -> str:
    """Return the code of a language that is written as a code, as a locale or by its name, in any case.

    A code may be one that is not listed here: models may know other languages than Whisper does.

    Raises:
        OptionError: No language has this name.
    """
    text = written if isinstance(written, str) else ""
    found = _codes().get(_plain(text)) or _code(text)
    if found is None:
        raise OptionError(_advice(text))
    return found


def _code(written: str) -> str | None:
    found = _CODE.fullmatch(written.strip())
    if found is None:
        return None
    code = found[1].lower()
    return OTHER_CODES.get(code, code)


def _codes() -> dict[str, str]:
    """Return the code of each name; the names are in small letters, without accents."""
    return {_plain(name): line[0] for line in _lines() for name in line[1:]}


def _lines() -> list[list[str]]:
    """Return a list for each language: its code, then its names."""
    lines = (line.split(" ", 1) for line in _NAMES.strip().splitlines())
    return [[code, *names.split(", ")] for code, names in lines]


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.strip().casefold())
    return "".join(each for each in decomposed if not unicodedata.combining(each))


def _advice(written: str) -> str:
    similar = get_close_matches(_plain(written), _codes(), n=_MOST_NAMED, cutoff=_LIKE)
    english = {line[0]: line[1] for line in _lines()}
    codes = dict.fromkeys(_codes()[name] for name in similar)
    near = ", did you mean " + " or ".join(f"{english[code]} ({code})" for code in codes) + "?" if codes else ""
    return f"language: use a code of ISO 639-1, like en, or a name, like English{near}"
