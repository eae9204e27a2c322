"""The turns of users who have been served equally."""

import pytest
from natscribe.schemas.wire import Lane, Priority

from app.jetstream.slots import Slots
from app.queue.turns import Turn, Turns


def turn(user: str, sequence: int) -> Turn:
    return Turn(user, Lane.TRANSCRIPTION, Priority.NORMAL, sequence, 10.0)


def test_users_who_have_been_served_equally_start_in_the_order_in_which_they_came() -> None:
    # Given four users with a task each
    turns = Turns()
    waiting = [turn(user, sequence) for sequence, user in enumerate("dbca", 1)]
    for task in waiting:
        turns.add(task)
    # When they are located, then each is behind those that came before, and so they start
    assert [turns.before(task) for task in waiting] == [(number, 10.0 * number) for number in range(4)]
    started = [turns.next(Slots.RECORDINGS) for _ in waiting]
    assert [task and task.user for task in started] == ["d", "b", "c", "a"]


@pytest.mark.parametrize("reconsidered", ["a", "b"])
def test_reconsidering_one_user_often_takes_no_turn_from_another(reconsidered: str) -> None:
    turns = Turns()
    for sequence, user in enumerate("ab", 1):
        turns.add(turn(user, sequence))
    for _ in range(1000):
        turns.reconsider(reconsidered)
    started = [turns.next(Slots.RECORDINGS), turns.next(Slots.RECORDINGS)]
    assert {task.user for task in started if task} == {"a", "b"}
