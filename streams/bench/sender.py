"""A till that keeps time: sends a saved load at a steady rate, from a process of its own so that nothing else disturbs it.

Law: `sent-at` is the moment at which a check was due, so a sender that lags counts against what is measured.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer

from streams.bench.load import saved
from streams.replay import SENT_AT
from streams.settings import reach


async def send(bootstrap: str, path: Path, rate: float) -> dict[str, float]:
    """Send the load at `rate` a second; answers how many, and by how much the latest was late, in milliseconds."""
    load, latest = saved(path), 0.0
    async with AIOKafkaProducer(**reach(bootstrap), acks="all", linger_ms=0) as producer:
        await producer.partitions_for(load[0].topic)
        began = time.time() + 0.5
        for n, one in enumerate(load):
            due = began + n / rate
            if (early := due - time.time()) > 0:
                await asyncio.sleep(early)
            latest = max(latest, time.time() - due)
            header = (SENT_AT, b"%d" % (due * 1000))
            await producer.send(one.topic, one.value, key=one.key, timestamp_ms=one.at_ms, headers=[header])
    return {"sent": len(load), "late_ms": latest * 1000}


if __name__ == "__main__":
    where, file, pace = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(send(where, Path(file), float(pace)))))
