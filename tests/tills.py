"""What tills and the service desk send, as plain records of the doors."""

from tests.builders import paid


def _receipt(kind, receipt, at, member, parts):
    body = {
        "type": kind,
        "check_id": receipt,
        "outlet": "o1",
        "till": "1",
        "business_date": at.date().isoformat(),
        "receipt": receipt,
        "at": at.isoformat(),
    }
    return body | ({"member": member} if member else {}) | parts


def line(amount, number=1, *, quantity=1000, sku="A", **parts):
    return {"line": number, "sku": sku, "quantity": quantity, "amount_minor": amount} | parts


def sale(receipt, amounts, at, member=None, **parts):
    """A sale of a line for each amount, paid in cash unless `tenders` say otherwise."""
    lines = [line(amount, number) for number, amount in enumerate(amounts, 1)]
    body = {"currency": "USD", "lines": lines, "tenders": [{"type": "cash", "amount_minor": paid(lines)}]}
    return _receipt("sale", receipt, at, member, body | parts)


def returned(receipt, of, lines, at, member=None, **parts):
    """A return of (line, quantity, amount)."""
    back = [{"line": number, "quantity": quantity, "amount_minor": amount} for number, quantity, amount in lines]
    return _receipt("return", receipt, at, member, {"of": of, "currency": "USD", "lines": back} | parts)


def void(receipt, of, at, member=None, **parts):
    return _receipt("void", receipt, at, member, {"of": of} | parts)


def request(kind, request_id, reservation, at, member, **parts):
    body = {"type": kind, "request_id": request_id, "outlet": "o1", "till": "1", "at": at.isoformat(), "member": member}
    return body | {"reservation": reservation} | parts


def desk(kind, command_id, loyalty_id, at, **parts):
    return {"type": kind, "command_id": command_id, "loyalty_id": loyalty_id, "at": at.isoformat()} | parts


def opt_in(loyalty_id, at, *identifiers, **parts):
    return desk("opt_in", f"join-{loyalty_id}", loyalty_id, at, identifiers=list(identifiers), **parts)
