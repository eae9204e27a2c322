import pytest

from app.engines.text.vocabulary import improves, likely

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
    assert likely(NAMES, text)[:1] == [term]


def test_where_nothing_is_said_no_term_is_likely() -> None:
    assert likely(NAMES, "") == []
    assert likely(NAMES, "Hm.") == []


def test_a_term_that_stands_there_as_it_is_spelt_needs_no_second_look() -> None:
    assert "Natscribe" not in likely(NAMES, "We run Natscribe.")


def test_of_a_long_list_no_more_are_given_than_a_model_reads() -> None:
    names = [f"Anders{ending}" for ending in "abcdefghijklmnopqrstuvwxyz"]
    assert len(likely(names, "Ask Anders.")) == 20


def test_a_name_instead_of_what_sounded_like_it_is_better() -> None:
    assert improves("We run nat scribe in production.", "We run Natscribe in production.", ["Natscribe"])


def test_a_name_out_of_nothing_is_not() -> None:
    assert not improves("We run it in production.", "We run Natscribe it in production.", ["Natscribe"])


def test_a_name_instead_of_another_word_is_not() -> None:
    assert not improves("We met Peter in production.", "We met Natscribe in production.", ["Natscribe"])


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        ("We run nat scribe every day now.", "We run Natscribe every day here.", True),  # four words of five
        ("We run nat scribe every day.", "We run Natscribe every night.", True),  # three of four
        ("We run nat scribe every day.", "You run Natscribe every night.", False),
        ("We run nat scribe every day.", "We run Natscribe every one of these nights.", False),
    ],
)
def test_three_quarters_of_the_other_words_have_to_stay(before: str, after: str, better: bool) -> None:
    assert improves(before, after, ["Natscribe"]) is better


def test_a_text_that_lost_its_other_words_is_not_better_for_a_name() -> None:
    before = "We run nat scribe in production and it has been quick since the first week of March."
    assert not improves(before, "We run Natscribe.", ["Natscribe"])


@pytest.mark.parametrize(
    ("before", "after", "term"),
    [
        ("Позвоните питрову завтра.", "Позвоните Петрову завтра.", "Петров"),
        ("Работаем на нацкрайбе.", "Работаем на Натскрайбе.", "Натскрайб"),
    ],
)
def test_a_name_may_have_an_ending(before: str, after: str, term: str) -> None:
    assert improves(before, after, [term])


def test_a_text_without_any_of_the_terms_is_not_better() -> None:
    assert not improves("We run nat scribe.", "We run a scribe.", ["Natscribe"])


@pytest.mark.parametrize(
    ("term", "text", "stands_there"), [("Петр", "Скажи Петру.", True), ("Ян", "Янка пришла.", False)]
)
def test_only_a_term_of_four_letters_may_have_an_ending(term: str, text: str, stands_there: bool) -> None:
    assert (likely([term], text) == []) is stands_there
