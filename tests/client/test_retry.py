import pytest

from clouds.client.retry import Busy, Lost, Rejected, Retry


def failing(times, fault):
    """Returns a function that fails a number of times, and its calls."""
    calls = []

    def attempt(seconds):
        calls.append(seconds)
        if len(calls) <= times:
            raise fault
        return "done"

    return attempt, calls


@pytest.fixture
def slept(monkeypatch):
    """The seconds of the pauses; nothing waits."""
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


def test_pauses_grow_until_a_call_succeeds(slept, monkeypatch):
    bounds = []

    def draw(low, high):
        bounds.append((low, high))
        return high / 2

    monkeypatch.setattr("random.uniform", draw)
    attempt, calls = failing(8, Busy("busy"))
    assert Retry(8, 1000)(attempt) == "done"
    assert len(calls) == 9
    assert bounds == [(0, high) for high in (0.5, 1, 2, 4, 8, 16, 20, 20)]
    assert slept == [0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_retries_are_reported_once_a_minute(monkeypatch):
    now, reports = [0.0], []
    monkeypatch.setattr("random.uniform", lambda low, high: 25)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.append(now.pop() + seconds))
    retry = Retry(4, 1000, reports.append)
    attempt, _ = failing(4, Busy("It is busy."))
    retry(attempt)
    assert reports == [
        "It is busy. Retries left: 4, within 1000 s.",
        "It is busy. Retries left: 1, within 925 s.",
    ]
    attempt, _ = failing(0, Busy("It is busy."))
    retry(attempt)
    assert len(reports) == 2


def test_the_pause_that_a_server_asks_for_is_added(slept, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 0.125)
    attempt, _ = failing(1, Busy("busy", wait=7))
    Retry(5, 1000)(attempt)
    assert slept == [7.125]


def test_each_call_gets_the_seconds_that_are_left():
    attempt, calls = failing(2, Busy("busy"))
    Retry(2, 10)(attempt)
    assert 10 >= calls[0] > calls[1] > calls[2]


@pytest.mark.parametrize(
    ("retries", "deadline", "attempts"), [(2, 1000, 3), (100, 3, 3)]
)
def test_retries_end_with_their_number_or_the_deadline(
    retries, deadline, attempts, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.append(now.pop() + seconds))
    attempt, calls = failing(1000, Busy("busy"))
    retry = Retry(retries, deadline)
    with pytest.raises(Busy):
        retry(attempt)
    assert len(calls) == attempts
    assert not retry.lost.is_set()


def test_a_server_that_stayed_lost_is_not_retried(slept):
    retry = Retry(3, 1000)
    for expected in (4, 1):
        attempt, calls = failing(1000, Lost("gone"))
        with pytest.raises(Lost):
            retry(attempt)
        assert len(calls) == expected


def test_a_rejected_request_is_not_retried(slept):
    attempt, calls = failing(1000, Rejected("no"))
    with pytest.raises(Rejected):
        Retry(3, 1000)(attempt)
    assert len(calls) == 1
