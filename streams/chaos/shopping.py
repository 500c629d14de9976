"""What members buy, bring back and redeem at the tills: random receipts and requests, as plain records of the doors.

Law: all chance comes from the generator given, so one seed makes one and the same shopping.
"""

from datetime import UTC, datetime
from random import Random
from typing import Any

from schemas.checks import Sale
from streams.chaos.oracle.rules import net

Body = dict[str, Any]


class Shopping:
    """Makes records; keeps nothing but the count that makes their ids."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.count = 0

    def fresh(self, prefix: str) -> str:
        """An id that was never given before."""
        self.count += 1
        return f"{prefix}-{self.count}"

    def receipt(self, kind: str, name: str, at: int, **parts: Any) -> Body:
        """A receipt of any kind; `at` is in epoch seconds."""
        moment = datetime.fromtimestamp(at, UTC)
        body = {
            "type": kind,
            "check_id": name,
            "outlet": "o1",
            "till": "1",
            "business_date": moment.date().isoformat(),
            "receipt": name,
            "at": moment.isoformat(),
        }
        return body | parts

    def sale(self, at: int) -> Body:
        """A basket: brands that earn double, tobacco that earns nothing, weighed goods, discounts, paid in part with points."""
        random = self.random
        lines = [self._line(number) for number in range(1, random.randint(1, 4) + 1)]
        paid = sum(line["amount_minor"] - line["discount_minor"] for line in lines)
        by_points = random.choice((0, 0, 0, min(paid, 50), paid))
        tenders = [{"type": "cash", "amount_minor": paid - by_points}, {"type": "points", "amount_minor": by_points}]
        return self.receipt("sale", self.fresh("s"), at, currency="USD", lines=lines, tenders=tenders)

    def _line(self, number: int) -> Body:
        random = self.random
        amount = random.choice((0, 99, 1000, random.randint(1, 9999), random.randint(1, 30_000)))
        quantity = random.choice((0, 500, 1000, 3000))
        line: Body = {"line": number, "sku": "A", "quantity": quantity, "amount_minor": amount}
        line["discount_minor"] = random.choice((0, 0, amount // 3))
        line["category"] = random.choice(("food/dairy", "tobacco", "tobacco/cigars", "tobaccos"))
        return line | ({"brand": "Own"} if random.random() < 0.3 else {})

    def back(self, sale: Sale | None, at: int) -> Body:
        """Some of some lines of a sale, sometimes more than was bought, sometimes of what is no sale."""
        random = self.random
        name = self.fresh("r")
        if sale is None or random.random() < 0.05:
            of = {"of": random.choice(("nothing", "adjust-1"))} if random.random() < 0.5 else {}
            lines = [{"line": 1, "quantity": 1000, "amount_minor": 100}]
            return self.receipt("return", name, at, currency="USD", lines=lines, **of)
        if random.random() < 0.25:
            return self.receipt("void", name, at, of=sale.check_id)
        lines = []
        for line in random.sample(sale.lines, random.randint(1, len(sale.lines))):
            quantity = random.choice((0, line.quantity // 2, line.quantity, line.quantity, line.quantity + 1))
            amount = net(line)
            back = random.choice((0, amount // 2, amount // 3, amount))
            lines.append({"line": line.line, "quantity": quantity, "amount_minor": back})
        return self.receipt("return", name, at, currency="USD", lines=lines, of=sale.check_id)
