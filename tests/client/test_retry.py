import pytest

from clouds.client.retry import Busy, Lost, Patience, Rejected


def failing(times, fault):
    calls = []

    def attempt(seconds):
        calls.append(seconds)
        if len(calls) <= times:
            raise fault
        return "done"

    return attempt, calls


def test_pauses_grow_and_end_with_success(monkeypatch):
    slept, spreads = [], []
    monkeypatch.setattr("time.sleep", slept.append)

    def draw(most):
        spreads.append(most)
        return most / 2

    attempt, calls = failing(4, Busy("busy"))
    assert Patience(5, 1000, draw)(attempt) == "done"
    assert len(calls) == 5
    assert spreads == [0.5, 1, 2, 4]
    assert slept == [0.25, 0.5, 1, 2]


def test_that_it_tries_again_is_told_once_a_minute(monkeypatch):
    now, told = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.append(now.pop() + seconds))
    patience = Patience(4, 1000, lambda most: 25, told.append)
    attempt, _ = failing(4, Busy("It is busy."))
    patience(attempt)
    assert told == [
        "It is busy; trying up to 4 times more, for 1000 s at most",
        "It is busy; trying once more, for 925 s at most",
    ]
    attempt, _ = failing(0, Busy("It is busy."))
    patience(attempt)
    assert len(told) == 2


def test_a_server_that_names_a_time_is_asked_after_it(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    attempt, _ = failing(1, Busy("busy", wait=7))
    Patience(5, 1000, lambda most: 0.125)(attempt)
    assert slept == [7.125]


def test_pauses_are_drawn_at_random():
    attempt, calls = failing(2, Busy("busy"))
    Patience(2, 10)(attempt)
    assert calls[0] > calls[1] > calls[2]


@pytest.mark.parametrize(
    ("retries", "deadline", "attempts"), [(2, 1000, 3), (100, 3, 4)]
)
def test_patience_has_an_end(retries, deadline, attempts, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    attempt, calls = failing(1000, Busy("busy"))
    patience = Patience(retries, deadline, lambda most: most)
    with pytest.raises(Busy):
        patience(attempt)
    assert len(calls) == attempts
    assert not patience.lost.is_set()


def test_a_server_lost_for_good_is_not_waited_for_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    patience = Patience(3, 1000)
    for expected in (4, 1):
        attempt, calls = failing(1000, Lost("gone"))
        with pytest.raises(Lost):
            patience(attempt)
        assert len(calls) == expected


def test_what_will_not_succeed_is_not_tried_again():
    attempt, calls = failing(1000, Rejected("no"))
    with pytest.raises(Rejected):
        Patience(3, 1000)(attempt)
    assert len(calls) == 1
