"""Nothing is guessed at the three doors: what is not exactly the contract is a BadRecord with a stable code, and nothing else."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import export
from schemas.base import ID_MAX
from schemas.checks import Sale, check_id
from schemas.codec import INBOUND, BadRecord, parse_inbound
from schemas.codes import Code
from schemas.currencies import CURRENCIES
from schemas.topics import CHECKS, INBOUND_BYTES_MAX, MEMBER_COMMANDS, RECORD_BYTES_MAX, REDEMPTIONS

Record = dict[str, Any]
EXAMPLES = export.ROOT / "schemas" / "examples"


def _example(where: str) -> Record:
    record: Record = json.loads((EXAMPLES / where).read_text("utf-8"))
    return record


SALE = _example("pos.checks/sale/valid/basket.json")
RESERVE = _example("pos.redemptions/reserve/valid/by-points.json")
ADJUST = _example("crm.members/adjust/valid/full.json")


def _sale(**fields: Any) -> bytes:
    return json.dumps(SALE | fields).encode()


def _line(**fields: Any) -> bytes:
    return _sale(lines=[SALE["lines"][0] | fields])


def _spelt(text: str) -> bytes:
    """The sale with the first amount spelt out, as json.dumps would not."""
    return _line(amount_minor=987654).replace(b"987654", text.encode())


def _refusal(value: bytes | None, topic: str = CHECKS.name) -> BadRecord:
    with pytest.raises(BadRecord) as bad:
        parse_inbound(topic, value)
    return bad.value


def _taken(value: bytes) -> Sale:
    check = parse_inbound(CHECKS.name, value)
    assert isinstance(check, Sale)
    return check


# ---------------------------------------------------------------- money and other figures


@pytest.mark.parametrize("amount", ["500", 5.0, 5.5, True, None, [], {}, -1, 10**11 + 1, 10**25])
def test_money_is_an_integer_of_minor_units_and_nothing_else(amount: Any) -> None:
    bad = _refusal(_line(amount_minor=amount))
    assert bad.code is Code.SCHEMA
    assert bad.reason.startswith("sale.lines.0.amount_minor: ")


@pytest.mark.parametrize("spelt", ["5e2", "500.0", "NaN", "Infinity", "-Infinity", "1e400", "9" * 400])
def test_only_plain_integers_are_money(spelt: str) -> None:
    assert _refusal(_spelt(spelt)).code is Code.SCHEMA


@pytest.mark.parametrize("spelt", ["0500", "+500", "0x1F4", "5_00", ".5", "9" * 5000, "nan", "undefined"])
def test_a_figure_that_json_does_not_know_is_not_json(spelt: str) -> None:
    assert _refusal(_spelt(spelt)).code is Code.NOT_JSON


@pytest.mark.parametrize(
    ("topic", "record", "field"), [(REDEMPTIONS.name, RESERVE, "points"), (MEMBER_COMMANDS.name, ADJUST, "points")]
)
@pytest.mark.parametrize("points", ["500", 5.0, True, 10**12 + 1])
def test_points_are_integers_too(topic: str, record: Record, field: str, points: Any) -> None:
    assert _refusal(json.dumps(record | {field: points}).encode(), topic).code is Code.SCHEMA


@pytest.mark.parametrize("quantity", [-1, -1000, -(10**25)])
def test_a_quantity_below_zero_has_its_own_code(quantity: int) -> None:
    assert _refusal(_line(quantity=quantity)).code is Code.NEGATIVE_QUANTITY


@pytest.mark.parametrize("code", sorted(CURRENCIES))
def test_every_currency_of_the_list_is_taken(code: str) -> None:
    assert _taken(_sale(currency=code)).currency == code


@pytest.mark.parametrize("code", ["XXX", "XTS", "DEM", "ZZZ", "BTC"])
def test_a_currency_outside_the_list_has_its_own_code(code: str) -> None:
    assert _refusal(_sale(currency=code)).code is Code.UNKNOWN_CURRENCY


@pytest.mark.parametrize("code", ["eur", "EU", "EURO", "EUR\n", " EUR", "€", "", 978, None])
def test_a_currency_that_is_no_code_at_all_does_not_match_the_schema(code: Any) -> None:
    assert _refusal(_sale(currency=code)).code is Code.SCHEMA


# ---------------------------------------------------------------- fields and kinds


@pytest.mark.parametrize(
    "record",
    [
        _sale(store="B-017"),
        _line(price_minor=1),
        _sale(tenders=[{"type": "cash", "amount_minor": 1, "change_minor": 1}]),
        _sale(Outlet="B-017"),
        _sale(**{"": 1}),
    ],
    ids=["in the record", "in a line", "in a tender", "in capitals", "without a name"],
)
def test_an_unknown_field_is_refused_wherever_it_is(record: bytes) -> None:
    bad = _refusal(record)
    assert bad.code is Code.SCHEMA
    assert bad.reason.endswith("Extra inputs are not permitted")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "refund"),
        ("type", "SALE"),
        ("type", None),
        ("type", 1),
        ("channel", "fax"),
        ("channel", "Store"),
        ("channel", None),
    ],
)
def test_kinds_are_closed(field: str, value: Any) -> None:
    assert _refusal(_sale(**{field: value})).code is Code.SCHEMA


@pytest.mark.parametrize("value", ["true", "yes", 1, 0, None])
def test_yes_and_no_are_true_and_false(value: Any) -> None:
    assert _refusal(_sale(offline=value)).code is Code.SCHEMA


@pytest.mark.parametrize("field", ["type", "outlet", "till", "business_date", "receipt", "at", "currency", "lines", "tenders"])
def test_what_must_be_there_must_be_there(field: str) -> None:
    assert _refusal(json.dumps({key: value for key, value in SALE.items() if key != field}).encode()).code is Code.SCHEMA


@pytest.mark.parametrize("value", [b"null", b"[]", b"{}", b'"sale"', b"1", b"true", b"[" + _sale() + b"]"])
def test_json_that_is_no_record_does_not_match_the_schema(value: bytes) -> None:
    assert _refusal(value).code is Code.SCHEMA


@pytest.mark.parametrize("topic", INBOUND)
def test_a_record_at_the_wrong_door_is_refused(topic: str) -> None:
    for other, record in ((CHECKS.name, SALE), (REDEMPTIONS.name, RESERVE), (MEMBER_COMMANDS.name, ADJUST)):
        if other != topic:
            assert _refusal(json.dumps(record).encode(), topic).code is Code.SCHEMA


@pytest.mark.parametrize(
    "member", ["4012888888881881", "card:", "CARD:1", "fax:1", "card:1\n", "card:\x00", "card:" + "1" * 201, "", 4012]
)
def test_an_identifier_has_a_kind_and_a_printable_value(member: Any) -> None:
    assert _refusal(_sale(member=member)).code is Code.SCHEMA


@pytest.mark.parametrize("length", [1, 29, 30, 100])
def test_the_id_made_of_four_names_fits_wherever_an_id_goes(length: int) -> None:
    names = dict.fromkeys(("outlet", "till", "receipt"), "n" * length)
    assert len(check_id(_taken(_sale(**names | {"check_id": "own"})))) == 3
    if length < 30:
        assert len(check_id(_taken(_sale(**names)))) <= ID_MAX
    else:
        bad = _refusal(_sale(**names))
        assert (bad.code, bad.reason.partition(":")[0]) == (Code.SCHEMA, "sale")


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "\x1b[31m", "a\x7f"])
def test_control_characters_are_refused_in_free_text(text: str) -> None:
    assert _refusal(_line(brand=text)).code is Code.SCHEMA


@pytest.mark.parametrize("text", ["Müller & Söhne", "おにぎり屋", "مخبز", "🥐", "a\u2028b", "x" * 500])
def test_every_script_is_taken_in_free_text(text: str) -> None:
    assert _taken(_line(brand=text)).lines[0].brand == text


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-03-14T17:42:09Z", "2026-03-14T17:42:09"),
        ("2026-03-14t17:42:09z", "2026-03-14T17:42:09"),
        ("2026-03-14T17:42:09+00:00", "2026-03-14T17:42:09"),
        ("2026-03-14T17:42:09-00:00", "2026-03-14T17:42:09"),
        ("2026-03-14T17:42:09+05:30", "2026-03-14T12:12:09"),
        ("2026-03-14T17:42:09-09:30", "2026-03-15T03:12:09"),
        ("2026-03-14T17:42:09+14:00", "2026-03-14T03:42:09"),
        ("2026-03-14T17:42:09.5Z", "2026-03-14T17:42:09.500000"),
        ("2026-03-14T17:42:09.123456789Z", "2026-03-14T17:42:09.123456"),  # a microsecond is the finest we keep
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00"),
        ("8999-12-31T23:59:59Z", "8999-12-31T23:59:59"),
    ],
)
def test_rfc_3339_with_an_offset_is_an_instant(written: str, utc: str) -> None:
    assert _taken(_sale(at=written)).at.astimezone(UTC) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_the_offset_of_the_till_is_kept_for_its_local_time() -> None:
    assert _taken(_sale(at="2026-03-14T17:42:09+05:30")).at.utcoffset() == timedelta(hours=5, minutes=30)


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-14T17:42:09",  # whose?
        "2026-06-30T23:59:60Z",  # a leap second: RFC 3339 knows it, calendars in software do not
        "2026-03-14T24:00:00Z",
        "2026-03-14T17:60:00Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "+02026-03-14T17:42:09Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-03-00T00:00:00Z",
        "2026-03-14 17:42:09Z",
        "2026-03-14_17:42:09Z",
        "2026-03-14T17:42Z",
        "2026-03-14T17:42:09+01",
        "2026-03-14T17:42:09+0100",
        "2026-03-14T17:42:09+24:00",
        "2026-03-14T17:42:09\u221201:00",
        "2026-03-14T17:42:09,5Z",
        "2026-03-14T17:42:09.Z",
        "2026-03-14T17:42:09.1234567890Z",
        "2026-03-14T17:42:09Z ",
        "2026-03-14T17:42:09Z\n",
        "٢٠٢٦-03-14T17:42:09Z",
        "20260314T174209Z",
        "2026-W11-6T17:42:09Z",
        "2026-03-14T17:42:09[Europe/Berlin]",
        "2026-03-14",
        "1773506529",
        "1773506529.5",
        "now",
        "",
        1773506529,
        1773506529000,
        None,
    ],
)
def test_anything_else_is_no_instant(written: Any) -> None:
    bad = _refusal(_sale(at=written))
    assert (bad.code, bad.reason) == (Code.SCHEMA, "sale.at: Input should be an RFC 3339 date-time with offset, from 1970 on")


@pytest.mark.parametrize(
    "written",
    [
        "20260314",
        "2026-3-14",
        "2026-02-30",
        "0000-03-14",
        "0026-03-14",
        "2026-03-14T00:00:00",
        "1773446400",
        "14.03.2026",
        20260314,
        None,
    ],
)
def test_a_business_date_is_a_date_and_nothing_else(written: Any) -> None:
    bad = _refusal(_sale(business_date=written))
    assert (bad.code, bad.reason) == (Code.SCHEMA, "sale.business_date: Input should be a date as YYYY-MM-DD, from 1900 on")


@given(st.datetimes(datetime(1970, 1, 2), datetime(8999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001  # the strategy adds the zone
def test_what_python_prints_as_an_instant_is_read_back_the_same(at: datetime) -> None:
    offset = at.utcoffset()
    assert offset is not None
    if offset.total_seconds() % 60 == 0:  # local mean time of long ago has seconds in its offset: not RFC 3339
        read = _taken(_sale(at=at.isoformat())).at
        assert (read.replace(tzinfo=None), read.utcoffset()) == (at.replace(tzinfo=None), offset)
    utc = at.astimezone(UTC)
    assert _taken(_sale(at=utc.isoformat())).at == utc


# ---------------------------------------------------------------- bytes


def test_no_value_and_too_many_bytes_have_their_own_codes() -> None:
    assert _refusal(None).code is Code.NULL_VALUE
    assert _refusal(b" " * (RECORD_BYTES_MAX + 1)).code is Code.TOO_LARGE
    assert _refusal(b" " * 10_000_000).code is Code.TOO_LARGE
    assert INBOUND_BYTES_MAX > 10_000_000, "the broker must take what a dead letter has to keep"


def test_the_largest_receipt_fits() -> None:
    line = SALE["lines"][0] | {"category": "c" * 100, "brand": "b" * 100, "discount_minor": 10**10}
    value = json.dumps(SALE | {"lines": [line | {"line": n + 1} for n in range(2000)]}).encode()
    assert len(value) < RECORD_BYTES_MAX
    assert len(_taken(value).lines) == 2000
    assert _refusal(_sale(lines=[line] * 2001)).code is Code.SCHEMA


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"   ",
        b"\x00",
        b"{",
        _sale()[:-1],
        _sale() + b"}",
        _sale() + _sale(),
        _sale() + b"\x00",
        b"\xef\xbb\xbf" + _sale(),
        _sale().decode().encode("utf-16"),
        _sale().decode().encode("utf-32"),
        _line(brand="Ü").replace(b"\\u00dc", b"\xdc"),
        _line(brand="X").replace(b'"X"', b'"\xed\xa0\x80"'),
        _line(brand="X").replace(b'"X"', b'"\xc0\xaf"'),
        _line(brand="X").replace(b'"X"', b'"\\ud800"'),
        _line(brand="X").replace(b'"X"', b'"\\udc00\\ud800"'),
        _line(brand="X").replace(b'"X"', b'"a\nb"'),
        _line(brand="X").replace(b'"X"', b"'X'"),
        _sale().replace(b", ", b",, ", 1),
        b"// a comment\n" + _sale(),
        b"\x1f\x8b\x08\x00" + _sale(),
        b"<check/>",
        b"[" * 700_000,
        b'{"type":' * 90_000,
        _sale(x=1).replace(b'"x": 1', b'"x": ' + b"[" * 100_000 + b"]" * 100_000),
    ],
    ids=[
        "empty", "blank", "a null byte", "cut at the start", "cut at the end", "a bracket more", "two records", "a null byte behind",
        "a byte order mark", "UTF-16", "UTF-32", "Latin-1", "a surrogate in UTF-8", "an overlong form", "half a surrogate pair",
        "a pair the wrong way round", "a raw line feed in a text", "single quotes", "a comma more", "a comment", "compressed", "XML",
        "a bomb of brackets", "a bomb of records", "a bomb in an unknown field",
    ],
)  # fmt: skip
def test_bytes_that_are_not_json_in_utf_8_are_not_json(value: bytes) -> None:
    bad = _refusal(value)
    assert bad.code is Code.NOT_JSON
    assert len(bad.reason) < 200


def test_of_a_field_given_twice_the_last_counts() -> None:
    """As nearly every JSON reader does (RFC 8259 leaves it open). The dead letter or the command keeps what was read."""
    assert _taken(_sale().replace(b'"currency": "EUR"', b'"currency": "USD", "currency": "EUR"')).currency == "EUR"
    assert _refusal(_sale().replace(b'"type": "sale"', b'"type": "sale", "type": "void"')).reason.startswith("void.")


# ---------------------------------------------------------------- what a refusal says


SECRET = "4012888888881881"  # noqa: S105  # a card number of the kind that must never reach a log


@pytest.mark.parametrize(
    "value",
    [
        _sale(member=SECRET),
        _sale(type=SECRET),
        _sale(channel=SECRET),
        _sale(currency=SECRET),
        _sale(at=SECRET),
        _sale(business_date=SECRET),
        _sale(offline=SECRET),
        _sale(**{SECRET: 1}),
        _sale(**{"card:" + SECRET: 1}),
        _line(**{SECRET: {SECRET: SECRET}}),
        _line(sku=SECRET + " "),
        _sale()[:-1] + SECRET.encode(),
        SECRET.encode(),
        json.dumps({SECRET: SECRET}).encode(),
    ],
)
def test_a_refusal_never_quotes_the_record(value: bytes) -> None:
    bad = _refusal(value)
    assert SECRET not in bad.reason
    assert SECRET not in str(bad)


@pytest.mark.parametrize("name", ["n" * 500_000, "a\nb", "a\x00b", "💣" * 1000])
def test_a_refusal_stays_short_and_on_one_line_whatever_a_field_is_called(name: str) -> None:
    reason = _refusal(_sale(**{name: 1})).reason
    assert len(reason) < 200
    assert reason.isprintable()


def test_a_record_with_sixty_thousand_mistakes_is_refused_in_time() -> None:
    value = b'{"type":"sale",' + b",".join(b'"a%d":1' % n for n in range(60_000)) + b"}"
    began = time.process_time()
    assert _refusal(value).code is Code.SCHEMA
    assert time.process_time() - began < 5
