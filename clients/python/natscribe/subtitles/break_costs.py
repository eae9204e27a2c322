"""Rates breaks between two words of subtitles, by punctuation, conjunctions, articles and prepositions."""

# ruff: noqa: RUF001 -- marks and words of other scripts look like those of this one

SENTENCE_ENDS = (".", "?", "!", "…", "。", "！", "？", "؟", "।")
CLAUSE_ENDS = (",", ";", ":", "—", "–", "、", "，", "；", "：", "،")
CLOSING = "\"'”’“»)]}」』）】》"
OPENING = "“‘„«([{「『（【《¿¡"

# Costs of a break; a break between two ordinary words costs 1.
AT_SENTENCE, AT_CLAUSE, BEFORE_CONJUNCTION, BEFORE_SMALL_WORD = 0.0, 0.3, 0.5, 0.8
BETWEEN_WORDS, AFTER_SMALL_WORD, INSIDE_WORD = 1.0, 1.7, 4.0

# English, Russian, Spanish, French and Italian words, in this order.
_CLAUSE_BEGINNERS = """
    and but or so because if when while where which who that than as until unless although
    и а но или что чтобы когда если где потому хотя пока либо как после затем
    y pero o sino que porque cuando donde si aunque mientras como
    et mais ou qui où quand car donc parce lorsque puis
    e ma che perché quando dove se mentre oppure poi
"""
_BELONG_TO_THE_NEXT = """
    a an the of to in on at for with from by as into and or but if that than my your his her its our their this i
    mr mrs ms dr st
    в во на с со к ко по за из от до о об у для без при над под через не ни и а но или что если как т г гг им ул
    el la los las un una unos unas de del al en con por para sin y o que su sus mi tu lo se si sr sra
    le les des du au aux dans sur pour par avec sans et ou mais ce cette ces son sa ses votre vos notre ne je il que mme
    gli uno di da dal dalla nel nella dello della dei delle per tra e che non il
"""
_CONJUNCTIONS = frozenset(_CLAUSE_BEGINNERS.split())
_SMALL_WORDS = frozenset(_BELONG_TO_THE_NEXT.split())  # articles, prepositions, conjunctions, titles


def break_cost(before: str, after: str) -> float:
    """Return the cost of a break between two neighbouring words: the lower, the better a line may end there.

    A full stop does not end a sentence if it belongs to an abbreviation or if a lower-case letter follows.
    """
    word = before.rstrip(CLOSING)
    bare = word.strip(".,;:\"'" + OPENING).lower()
    if word.endswith("."):
        goes_on = after.lstrip(OPENING)[:1].islower() or bare in _SMALL_WORDS or (len(bare) == 1 and bare.isalpha())
        return AFTER_SMALL_WORD if goes_on else AT_SENTENCE
    if word.endswith(SENTENCE_ENDS):
        return AT_SENTENCE
    if word.endswith(CLAUSE_ENDS):
        return AT_CLAUSE
    if bare in _SMALL_WORDS:
        return AFTER_SMALL_WORD
    following = after.strip(",\"'" + OPENING).lower()
    if following in _CONJUNCTIONS:
        return BEFORE_CONJUNCTION
    return BEFORE_SMALL_WORD if following in _SMALL_WORDS else BETWEEN_WORDS
