import pytest

from app.engines.text.vocabulary import improves, likely_terms

NAMES = ("Natscribe", "JetStream", "Siobhan O'Brien", "Екатеринбург", "ПИН-код")


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("We run nat scribe in production.", "Natscribe"),
        ("It is stored in jet stream for a week.", "JetStream"),
        ("Ask Shavon O'Brian about it.", "Siobhan O'Brien"),
        ("Он живёт в Екатеринбурке.", "Екатеринбург"),
        ("Введите пинкот.", "ПИН-код"),
        ("Мы запускаем натскрайб.", "Natscribe"),
    ],
)
def test_a_term_that_something_resembles_is_likely(text: str, term: str) -> None:
    assert likely_terms(NAMES, text)[:1] == [term]


@pytest.mark.parametrize(
    ("term", "text", "terms"),
    [
        ("Natscribe", "", 0),
        ("Natscribe", "Hm.", 0),
        ("?!", "Hm?!", 0),
        ("Kafka", "Bloke.", 1),  # a fifth of the letters is the same
        ("Kafka", "Blokes.", 0),
        ("Natscribe", "We run Natscribe.", 0),
        ("Петр", "Скажи Петру.", 0),  # only a term of four letters may have an ending
        ("Ян", "Янка пришла.", 1),
    ],
)
def test_a_term_is_likely_where_something_resembles_it_and_is_spelt_otherwise(term: str, text: str, terms: int) -> None:
    assert likely_terms([term], text) == [term] * terms


def test_of_a_long_list_no_more_are_given_than_a_model_reads() -> None:
    names = [f"Anders{ending}" for ending in "abcdefghijklmnopqrstuvwxyz"]
    assert len(likely_terms(names, "Ask Anders.")) == 20


@pytest.mark.parametrize(
    ("before", "after", "term"),
    [
        ("We run nat scribe in production.", "We run Natscribe in production.", "Natscribe"),
        ("We run nat scribe every day now.", "We run Natscribe every day here.", "Natscribe"),  # four words of five
        ("We run nat scribe every day.", "We run Natscribe every night.", "Natscribe"),  # three of four stay
        ("We met kiln today.", "We met Kant today.", "Kant"),  # half of the letters is the same
        ("Позвоните питрову завтра.", "Позвоните Петрову завтра.", "Петров"),  # a name may have an ending
        ("Работаем на нацкрайбе.", "Работаем на Натскрайбе.", "Натскрайб"),
    ],
)
def test_a_text_with_a_name_instead_of_what_sounded_like_it_is_better(before: str, after: str, term: str) -> None:
    assert improves(before, after, [term])


@pytest.mark.parametrize(
    ("before", "after", "term"),
    [
        ("We run nat scribe.", "We run a scribe.", "Natscribe"),  # without the term
        ("We run it in production.", "We run Natscribe it in production.", "Natscribe"),  # a term out of nothing
        ("We met Peter in production.", "We met Natscribe in production.", "Natscribe"),  # instead of another word
        ("We met kilns today.", "We met Kant today.", "Kant"),
        ("We run nat scribe every day.", "You run Natscribe every night.", "Natscribe"),  # two of four stay
        ("We run nat scribe every day.", "We run Natscribe every one of these nights.", "Natscribe"),
        ("We run nat scribe in production and it has been quick since March.", "We run Natscribe.", "Natscribe"),
    ],
)
def test_a_text_without_the_name_or_without_the_other_words_is_not_better(before: str, after: str, term: str) -> None:
    assert not improves(before, after, [term])
