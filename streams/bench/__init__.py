"""`loy bench`: the whole path measured on a real Kafka of its own, beside a plain aiokafka loop in the same run.

CPU-microseconds a check and ratios within one run are the honest figures; wall figures stand beside them and depend on what else
the machine does. Law: what was measured is counted and proven; a benchmark that loses a record ends with an error.
"""

from rich.console import Console

from streams.bench.run import Scale, measure
from streams.bench.topics import BenchError
from streams.settings import Settings

__all__ = ["BenchError", "Scale", "bench", "measure"]


async def bench(console: Console, settings: Settings, *, seconds: int, accounts: int) -> None:
    """Measure and show. Needs Linux and the demonstration baskets. Raises BenchError when anything was lost."""
    await measure(console, settings, Scale(seconds, accounts))
