"""One partitioner for everybody who writes a topic of ours.

Law: the same key always means the same partition, whoever produces it: murmur2 as in Java's and aiokafka's default.
"""

from functools import lru_cache
from struct import unpack_from

_SEED, _MIX, _MASK = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


@lru_cache(maxsize=1 << 17)
def murmur2(data: bytes) -> int:
    """Unsigned 32-bit murmur2 of `data`, as org.apache.kafka.common.utils.Utils.murmur2 (there signed)."""
    length = len(data)
    words = length >> 2
    h = _SEED ^ length
    for word in unpack_from(f"<{words}I", data):
        k = word * _MIX & _MASK
        k = (k ^ k >> 24) * _MIX & _MASK
        h = h * _MIX & _MASK ^ k
    rest = data[words << 2 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _MIX & _MASK
    h = (h ^ h >> 13) * _MIX & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, count: int) -> int:
    """The partition of `key` in a topic of `count` partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % count
