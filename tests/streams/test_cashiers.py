"""A13: a cashier's figures come from the log of record, repeats counted once, shares with their n."""

import orjson
from rich.console import Console

from schemas.codec import parse_command
from schemas.records import AnyCommand
from streams.cashiers import Cashier, render, tally


def _sale(number: int, cashier: str | None, account: str = "M-1") -> AnyCommand:
    return _command("sale", number, cashier, account, currency="USD", lines=[_line()], tenders=[_paid()])


def _void(number: int, cashier: str | None, account: str = "M-1") -> AnyCommand:
    return _command("void", number, cashier, account, of="some-sale")


def _join(member: str, cashier: str | None) -> AnyCommand:
    fields = {"type": "join", "id": f"join-{member}", "account": member, "program": "main@1", "at": "2026-05-01T09:00:00Z"}
    return parse_command(orjson.dumps(fields | {"cashier": cashier}))


def _command(kind: str, number: int, cashier: str | None, account: str, **fields: object) -> AnyCommand:
    check = {
        "type": kind, "check_id": f"{kind}-{number}", "outlet": "1", "till": "2", "business_date": "2026-05-01",
        "receipt": str(number), "at": "2026-05-01T10:00:00+02:00", "cashier": cashier, **fields,
    }  # fmt: skip
    command = {"type": kind, "id": f"{kind}-{number}", "account": account, "program": "main@1", "check": check}
    return parse_command(orjson.dumps(command))


def _line() -> dict[str, object]:
    return {"line": 1, "sku": "A", "quantity": 1000, "amount_minor": 100}


def _paid() -> dict[str, object]:
    return {"type": "cash", "amount_minor": 100}


def test_A13_a_cashier_has_sales_identified_share_returns_and_sign_ups() -> None:
    log = [_sale(1, "ann"), _sale(2, "ann", "receipt:sale-2"), _void(3, "ann"), _join("M-2", "ann"), _sale(4, "bob")]
    assert tally(log) == {"ann": Cashier(sales=2, identified=1, returns=1, sign_ups=1), "bob": Cashier(sales=1, identified=1)}


def test_A13_a_repeat_counts_once_and_a_receipt_without_a_cashier_not_at_all() -> None:
    assert tally([_sale(1, "ann"), _sale(1, "ann"), _sale(2, None)]) == {"ann": Cashier(sales=1, identified=1)}


def test_A13_a_receipt_sent_without_its_card_and_then_with_it_is_one_and_identified() -> None:
    without, with_card = _sale(1, "ann", "receipt:sale-1"), _sale(1, "ann")
    for log in ([without, with_card], [with_card, without, without]):
        assert tally(log) == {"ann": Cashier(sales=1, identified=1)}


def test_A13_no_share_is_shown_without_the_number_it_stands_on() -> None:
    console = Console(record=True, width=100)
    console.print(render(tally([_sale(1, "ann"), _sale(2, "ann", "receipt:sale-2"), _void(3, "cy")])))
    text = console.export_text()
    assert "1 (50.0%)" in text
    assert "cy" in text
    assert "1 (100.0%)" not in text
