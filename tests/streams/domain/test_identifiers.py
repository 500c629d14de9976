import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.codes import Code
from streams.domain.identifiers import IdentifierError, identity_key, luhn_digit, normalise

SECRET = b"a secret of the tests"


@pytest.mark.parametrize(
    ("read", "region", "normal"),
    [
        ("card:4012888888881881", "US", "card:4012888888881881"),
        ("card:4012 8888-8888 1881", "US", "card:4012888888881881"),
        ("card:hh-0012", "US", "card:HH0012"),
        ("card:1234", "US", "card:1234"),
        ("phone:(202) 555-0100", "US", "phone:+12025550100"),
        ("phone:+1 202 555 0100", "DE", "phone:+12025550100"),
        ("phone:030 901820", "DE", "phone:+4930901820"),
        ("email: Ann.Lee@Example.COM ", "US", "email:ann.lee@example.com"),
        ("app:eyJhbGciOi.AbC-_~", "US", "app:eyJhbGciOi.AbC-_~"),
        ("loyalty:H-1", "US", "loyalty:H-1"),
    ],
)
def test_A01_every_kind_has_one_spelling(read: str, region: str, normal: str) -> None:
    assert normalise(read, region) == normal


@pytest.mark.parametrize(
    "read",
    [
        *("card:4012888888881882", "card:123", "card:" + "A" * 31, "card:ßßßß", "card:٣٣٣٣", "card:a.b.c.d", "card:"),
        *("phone:12", "phone:abc", "phone:+999123456789", "phone:", "phone:" + "1" * 300),
        *("email:a@b", "email:a b@example.com", "email:@example.com", "email:a@-x.com", "email:a@b..com", "email:a@b.com\x00"),
        *("app:short", "app:" + "x" * 201, "app:with blank", "loyalty:", "loyalty:-1", "loyalty:" + "x" * 41, "loyalty:é"),
        *("", "4012888888881881", "passport:X1", "CARD:1234"),
    ],
)
def test_A01_what_cannot_be_an_identifier_has_a_code_and_is_not_repeated_in_the_message(read: str) -> None:
    with pytest.raises(IdentifierError) as failure:
        normalise(read)
    assert failure.value.code == Code.IDENTIFIER_INVALID
    _, _, value = read.partition(":")
    assert len(value) < 3 or value not in str(failure.value)


def test_A01_luhn_finds_every_single_wrong_digit_and_swap() -> None:
    card = "7992739871" + luhn_digit("7992739871")
    assert card == "79927398713"
    long = "700000000123" + luhn_digit("700000000123")
    for place, digit in enumerate(long):
        wrong = long[:place] + str((int(digit) + 1) % 10) + long[place + 1 :]
        with pytest.raises(IdentifierError):
            normalise(f"card:{wrong}")


@given(
    st.sampled_from(["card", "phone", "email", "app", "loyalty"]), st.text(max_size=60), st.sampled_from(["US", "DE", "IT", "BR"])
)
def test_A01_normalising_twice_changes_nothing(kind: str, value: str, region: str) -> None:
    try:
        once = normalise(f"{kind}:{value}", region)
    except IdentifierError:
        return
    assert normalise(once, region) == once


@given(
    st.from_regex(r"[ ]?\(?[+0-9]?[0-9]{2,4}\)?[-. /0-9]{3,14}", fullmatch=True), st.sampled_from(["US", "DE", "IT", "BR", "MX"])
)
def test_A01_normalising_a_phone_twice_changes_nothing(value: str, region: str) -> None:
    try:
        once = normalise(f"phone:{value}", region)
    except IdentifierError:
        return
    assert normalise(once, "FR") == once


@given(st.from_regex(r"[0-9]{11,18}", fullmatch=True), st.lists(st.sampled_from(["", " ", "-"]), min_size=19, max_size=19))
def test_A01_all_spellings_of_a_card_give_one_key(digits: str, gaps: list[str]) -> None:
    card = digits + luhn_digit(digits)
    spelled = "".join(gap + digit for gap, digit in zip(gaps, card, strict=False))
    assert identity_key(normalise(f"card:{spelled}"), SECRET) == identity_key(normalise(f"card:{card}"), SECRET)


@given(st.integers(200, 989), st.integers(200, 999), st.integers(0, 9999))
def test_A01_all_spellings_of_a_phone_give_one_key(area: int, exchange: int, last: int) -> None:
    spellings = [
        f"+1{area}{exchange}{last:04}",
        f"({area}) {exchange}-{last:04}",
        f"{area}.{exchange}.{last:04}",
        f"1-{area}-{exchange}-{last:04}",
        f"+1 {area} {exchange} {last:04}",
    ]
    assert len({identity_key(normalise(f"phone:{spelling}"), SECRET) for spelling in spellings}) == 1


@given(st.emails(), st.sampled_from([str.upper, str.lower, str.title, lambda text: f" {text}\t"]))
def test_A01_all_spellings_of_an_address_give_one_key(email: str, spell: object) -> None:
    try:
        normal = normalise(f"email:{email}")
    except IdentifierError:
        assume(False)
    assert normalise(f"email:{spell(email)}") == normal  # type: ignore[operator]


def test_A01_the_key_depends_on_the_secret_and_on_nothing_else() -> None:
    key = identity_key("loyalty:H-1", SECRET)
    assert len(key) == 32
    assert key == identity_key("loyalty:H-1", SECRET)
    assert key != identity_key("loyalty:H-1", b"another")
    assert key != identity_key("loyalty:H-2", SECRET)
