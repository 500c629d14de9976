"""What one batch asks a sink for: `streams.sinks.Work`, without a broker and without a vendor."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.delivery import Happening, ProfileChange, Unreadable
from streams.runtime import Record
from streams.sink_rows import Row
from streams.sinks import Work

TOLD = frozenset({"LOY_POINT_ACCRUAL", "LOY_OPT_OUT"})
PROFILE = {"loyalty_id": "M-1", "available_points": 12}
KEY = b"M-1"


def event(kind="LOY_POINT_ACCRUAL", sequence=1, *, profile=PROFILE, **data):
    """An event as the ledger prints it, with what a sink looks at."""
    data = {"occurred_at": "2026-03-14T12:00:00+00:00", "postings": [], "profile": profile, **data}
    return orjson.dumps({"id": f"M-1/{sequence}", "type": kind, "sequence": sequence, "data": data})


def contact(updated_at="2026-03-14T11:00:00Z", **parts):
    return orjson.dumps({"loyalty_id": "M-1", "contact": {"first_name": "Ann", **parts}, "updated_at": updated_at})


def record(value):
    return Record(KEY, value, 1_773_489_600_000, (), 7)


def told(*events, row=None, notify=True):
    """What the vendor is told of these events, in order."""
    work, row = Work(TOLD), row or Row()
    for value in events:
        work.event(KEY, row, record(value), notify=notify)
    return work.items()


def test_an_event_tells_the_profile_as_it_left_it_and_what_happened():
    row = Row(member=contact())
    change, happening = told(event(points=12, check_id="B-1/1/20260314/000001"), row=row)
    assert isinstance(change, ProfileChange)
    assert (change.first, change.person.profile, change.person.contact) == (True, PROFILE, {"first_name": "Ann"})
    assert isinstance(happening, Happening)
    assert (happening.event_id, happening.type, happening.occurred_at) == (
        "M-1/1",
        "LOY_POINT_ACCRUAL",
        "2026-03-14T12:00:00+00:00",
    )
    assert (happening.data["points"], happening.data["check_id"]) == (12, "B-1/1/20260314/000001")
    assert happening.person is change.person  # read once for both
    assert orjson.loads(row.profile) == PROFILE


def test_of_a_members_events_each_is_told_with_the_profile_of_then_and_the_profile_only_as_it_is_last():
    change, first, second = told(event(), event(sequence=2, profile={**PROFILE, "available_points": 30}))
    assert [one.person.profile["available_points"] for one in (change, first, second)] == [30, 12, 30]


@pytest.mark.parametrize(
    ("given_", "row"),
    [
        (event(profile=None), Row()),  # a receipt that nobody has claimed
        (event(sequence=3), Row(sequence=3)),  # a repeat
        (event(), Row(erased=True)),
    ],
)
def test_there_is_nothing_to_tell(given_, row):
    assert told(given_, row=row) == []


def test_history_changes_the_profile_and_notifies_of_nothing():
    assert [type(one) for one in told(event(), notify=False)] == [ProfileChange]


def test_of_a_member_who_is_erased_nothing_is_told_but_that():
    row = Row(member=contact(), profile=orjson.dumps(PROFILE), sent=b"12345678")
    gone = event("LOY_OPT_OUT", 2, erased=True)
    (erasure,) = told(event(), gone, row=row)
    assert (erasure.erased, row.member, row.profile, row.sent) == (True, b"", b"", b"")


def refused(row):
    """What the vendor refuses of an event: the profile."""
    work = Work(TOLD)
    work.event(KEY, row, record(event(sequence=row.sequence + 1)), notify=False)
    (change,) = work.items()
    work.refuse(change)
    return change


def test_H04_what_a_vendor_has_is_taken_back_though_it_refused_what_came_after():
    row = Row(member=contact(), sent=b"12345678")
    assert [refused(row).first, refused(row).first] == [False, True]  # told whole when anything of it changes
    (erasure,) = told(event("LOY_OPT_OUT", 3, erased=True), row=row)
    assert erasure.erased


def test_H04_of_whom_a_vendor_refused_the_first_word_nothing_is_taken_back():
    row = Row(member=contact())
    assert [refused(row).first, refused(row).first] == [True, True]
    assert told(event("LOY_OPT_OUT", 3, erased=True), row=row) == []


def test_H04_who_joins_again_before_the_sink_hears_of_the_erasure_keeps_the_new_contact_data():
    """Contact data is read to its end before the events: what is newer than the wish to be forgotten is not meant by it."""
    row = Row(member=contact(), profile=orjson.dumps(PROFILE), sent=b"12345678")
    work = Work(TOLD)
    anew = contact(email="new@example.com", updated_at="2026-03-14T12:00:01Z")
    for value in (None, anew):
        work.member(KEY, row, record(value))
    assert [one.person.contact for one in work.items()] == [{"first_name": "Ann"}]  # forgotten is what the vendor was told
    gone, joined = event("LOY_OPT_OUT", 2, erased=True), event("LOY_OPT_IN", 3)
    (change,) = told(gone, joined, row=row)
    assert change.person.contact["email"] == "new@example.com"


def test_H04_who_moved_and_is_erased_at_once_is_forgotten_by_the_address_that_the_vendor_knows():
    row = Row(member=contact(email="old@example.com"), profile=orjson.dumps(PROFILE), sent=b"12345678")
    work = Work(TOLD)
    for value in (contact(email="new@example.com"), None):
        work.member(KEY, row, record(value))
    (erasure,) = work.items()
    assert erasure.person.contact["email"] == "old@example.com"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        event(sequence="1"),
        event(occurred_at="soon"),
        event(profile=[1]),
        event(profile="Gold"),
        event(profile=12),
        event(points=1).replace(b'"points":1', b'"points":NaN'),
        event(check_id="here").replace(b"here", b"\xff\xfe"),
        event(check_id="here").replace(b"here", b"\\ud800"),
        event(profile={"loyalty_id": "here"}).replace(b"here", b"\\ud800"),
        orjson.dumps({"id": "M-1/1", "type": "LOY_POINT_ACCRUAL", "sequence": 1, "data": {"profile": PROFILE}}),
    ],
)
def test_what_is_no_event_is_said_to_be_none_at_once(value):
    with pytest.raises(Unreadable):
        Work(TOLD).event(KEY, Row(), record(value), notify=True)


TEXTS = st.text(max_size=8) | st.sampled_from(["\\", '"', "\x00", "\ud7ff", "\U0001f600", "\x7f"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(
    profile=st.dictionaries(TEXTS, VALUES, max_size=4), data=st.dictionaries(TEXTS, VALUES, max_size=4), cut=st.integers(0, 400)
)
def test_what_is_taken_can_be_read_whole_when_its_turn_has_come(profile, data, cut):
    """As it is, and with a byte of it spoilt: a batch that has begun must not meet what cannot be read."""
    data = {name: value for name, value in data.items() if name not in ("occurred_at", "profile", "erased")}
    whole = event(profile=profile, **data)
    for value in (whole, whole[:cut] + b"\xc3" + whole[cut + 1 :], whole[:cut] + whole[cut + 1 :]):
        try:
            items = told(value)
        except Unreadable:
            assert value is not whole
            continue
        for item in items:
            assert isinstance(item.person.profile, dict)
            assert isinstance(item, ProfileChange) or isinstance(item.data, dict)
    change, happening = told(whole)
    assert (change.person.profile, happening.data["profile"]) == (profile, profile)
    assert {name: happening.data[name] for name in data} == data
