"""Local days, whatever the zone does to the clock."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain import calendar

ZONES = (
    "UTC",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Europe/Berlin",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
)
EPOCHS = st.integers(0, 4_000_000_000)


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@given(st.sampled_from(ZONES), EPOCHS)
def test_B03_the_local_day_is_what_the_wall_clock_says(zone: str, at: int) -> None:
    assert datetime.fromtimestamp(at, ZoneInfo(zone)).toordinal() == calendar.local_day(zone, at)


@given(st.sampled_from(ZONES), st.integers(day("2012-01-02"), day("2060-01-01")))
def test_B03_midnight_is_the_first_instant_of_its_day(zone: str, local: int) -> None:
    start = calendar.midnight(zone, local)
    assert local == calendar.local_day(zone, start)
    assert local - 1 == calendar.local_day(zone, start - 1)


@pytest.mark.parametrize(
    ("zone", "text", "hours"),
    [
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Africa/Cairo", "2026-04-24", 23),  # the clock jumps at midnight itself: the day begins at one
        ("America/Havana", "2026-11-01", 25),  # midnight comes twice: the day begins with the first
        ("UTC", "2026-03-08", 24),
    ],
)
def test_B03_days_of_23_and_25_hours_are_one_day(zone: str, text: str, hours: int) -> None:
    assert hours * 3600 == calendar.midnight(zone, day(text) + 1) - calendar.midnight(zone, day(text))


def test_B03_days_after_an_instant_are_local_midnights() -> None:
    zone, at = "America/New_York", epoch("2026-03-07T23:30:00-05:00")
    assert calendar.days_after(zone, at, 1) == epoch("2026-03-08T00:00:00-05:00")
    assert calendar.days_after(zone, at, 2) == epoch("2026-03-09T00:00:00-04:00")
    assert calendar.days_after(zone, at, -7) == epoch("2026-02-28T00:00:00-05:00")


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2026-01-31", 0, "2026-01-31"),
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2026-11-15", 2, "2027-01-31"),
        ("2026-12-01", 12, "2027-12-31"),
        ("2026-06-30", 1200, "2126-06-30"),
    ],
)
def test_B03_month_ends(start: str, months: int, end: str) -> None:
    assert day(end) == calendar.month_end(day(start), months)


@pytest.mark.parametrize(
    ("start", "years", "later"),
    [
        ("2024-02-29", 1, "2025-02-28"),
        ("2024-02-29", 4, "2028-02-29"),
        ("2023-02-28", 1, "2024-02-28"),
        ("2026-07-01", 0, "2026-07-01"),
    ],
)
def test_C06_years_later_on_29_february(start: str, years: int, later: str) -> None:
    assert day(later) == calendar.years_later(day(start), years)


@pytest.mark.parametrize(
    ("today", "birthday", "days"),
    [
        ("2026-05-05", "05-05", 0),
        ("2026-05-08", "05-05", 3),
        ("2026-05-02", "05-05", 3),
        ("2026-01-02", "12-30", 3),  # over the turn of the year, both ways
        ("2026-12-30", "01-02", 3),
        ("2026-02-28", "02-29", 0),  # no 29 February this year
        ("2026-03-01", "02-29", 1),
        ("2028-02-28", "02-29", 1),
        ("2028-02-29", "02-29", 0),
        ("2026-07-02", "01-01", 182),
    ],
)
def test_D02_days_to_the_nearest_birthday(today: str, birthday: str, days: int) -> None:
    assert days == calendar.days_to_birthday(day(today), birthday)


@pytest.mark.parametrize(
    ("today", "period", "first", "following"),
    [
        ("2026-02-28", "month", "2026-02-01", "2026-03-01"),
        ("2026-12-31", "month", "2026-12-01", "2027-01-01"),
        ("2026-05-20", "quarter", "2026-04-01", "2026-07-01"),
        ("2026-12-31", "quarter", "2026-10-01", "2027-01-01"),
        ("2026-01-01", "year", "2026-01-01", "2027-01-01"),
    ],
)
def test_C01_calendar_periods(today: str, period: str, first: str, following: str) -> None:
    start = calendar.period_start(day(today), period)
    assert (day(first), day(following)) == (start, calendar.next_period(start, period))


def test_B03_the_end_of_the_year_so_many_years_on() -> None:
    assert day("2026-12-31") == calendar.year_end(day("2026-01-01"), 0)
    assert day("2028-12-31") == calendar.year_end(day("2026-12-31"), 2)


@given(EPOCHS)
def test_A11_an_instant_is_printed_in_utc_and_reads_back(at: int) -> None:
    text = calendar.instant(at)
    assert text.endswith("Z")
    assert at == calendar.epoch(datetime.fromisoformat(text))
    assert datetime.fromisoformat(text).tzinfo == UTC


def test_B09_a_day_is_printed_or_nothing() -> None:
    assert calendar.day_text(day("2026-02-28")) == "2026-02-28"
    assert calendar.day_text(0) is None
    assert calendar.day_text(None) is None
