"""`loy cashiers`: what each cashier's receipts say (A13): identified share, returns, sign-ups, each beside its n.

Law: read from the log of record alone; a repeat counts once; a share is never shown without its n.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table

from schemas.codec import parse_command
from schemas.records import AnyCommand, ApplyReturn, ApplySale, ApplyVoid, Join
from schemas.topics import COMMANDS
from streams.domain.account import RECEIPT_PREFIX
from streams.log import read_topic


@dataclass(slots=True)
class Cashier:
    """Counts of one cashier's receipts."""

    sales: int = 0
    identified: int = 0
    """Sales on a member's account."""
    returns: int = 0
    """Returns and voids."""
    sign_ups: int = 0

    @property
    def identified_share(self) -> float | None:
        """Of the sales; None without any."""
        return self.identified / self.sales if self.sales else None

    @property
    def return_share(self) -> float | None:
        """Returns and voids for each sale; None without any sale."""
        return self.returns / self.sales if self.sales else None


def tally(commands: Iterable[AnyCommand]) -> dict[str, Cashier]:
    """Figures by cashier id. Receipts that name no cashier are left out; one that came without its card first is the member's."""
    seen: dict[tuple[str, str], bool] = {}
    cashiers: dict[str, Cashier] = {}
    for command in commands:
        name = _cashier_of(command)
        if name is None:
            continue
        cashier = cashiers.setdefault(name, Cashier())
        once = (command.account if isinstance(command, Join) else "", command.id)
        identified = not command.account.startswith(RECEIPT_PREFIX)
        if once not in seen:
            _count(cashier, command)
        if isinstance(command, ApplySale) and identified and not seen.get(once):
            cashier.identified += 1
        seen[once] = identified or seen.get(once, False)
    return cashiers


def _cashier_of(command: AnyCommand) -> str | None:
    match command:
        case ApplySale() | ApplyReturn() | ApplyVoid():
            return command.check.cashier
        case Join():
            return command.cashier
        case _:
            return None


def _count(cashier: Cashier, command: AnyCommand) -> None:
    match command:
        case ApplySale():
            cashier.sales += 1
        case Join():
            cashier.sign_ups += 1
        case _:
            cashier.returns += 1


async def cashiers(bootstrap: str) -> Table:
    """Read the log of record and show a row a cashier, the busiest first. Raises UnknownTopicError."""
    commands = [parse_command(record.value) async for record in read_topic(bootstrap, COMMANDS.name) if record.value is not None]
    return render(tally(commands))


def render(found: dict[str, Cashier]) -> Table:
    """For a terminal."""
    table = Table("cashier", "sales (n)", "identified", "returns", "sign-ups", title="Cashiers")
    for name, cashier in sorted(found.items(), key=lambda item: (-item[1].sales, item[0])):
        table.add_row(
            name,
            f"{cashier.sales:,}",
            _share(cashier.identified, cashier.identified_share),
            _share(cashier.returns, cashier.return_share),
            f"{cashier.sign_ups:,}",
        )
    return table


def _share(count: int, share: float | None) -> str:
    return f"{count:,}" if share is None else f"{count:,} ({share:.1%})"
