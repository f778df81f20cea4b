"""Counting without keeping: percentiles from buckets, and the load of a thread."""

from __future__ import annotations


class Histogram:
    """Durations in microseconds, in buckets an eighth of an octave wide (9 % resolution)."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0

    def add(self, microseconds: int) -> None:
        """Count one duration."""
        bucket = _bucket(microseconds)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1

    def quantile(self, q: float) -> int:
        """Smallest upper edge below which a share `q` of the durations lies; 0 if there are none."""
        wanted = q * self.count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return _upper(bucket)
        return 0

    def span(self) -> tuple[int, int]:
        """50th and 99th percentile."""
        return self.quantile(0.5), self.quantile(0.99)


class Load:
    """Share of recent time (about 2 s) that a thread was busy."""

    def __init__(self, memory_s: float = 2.0) -> None:
        self._memory_ns = memory_s * 1e9
        self._value = 0.0

    def add(self, idle_ns: int, busy_ns: int) -> None:
        """Account for a wait and the work after it."""
        total = idle_ns + busy_ns
        if total > 0:
            weight = min(1.0, total / self._memory_ns)
            self._value += weight * (busy_ns / total - self._value)

    @property
    def value(self) -> float:
        """0 idle, 1 never waits."""
        return min(max(self._value, 0.0), 1.0)


def _bucket(microseconds: int) -> int:
    # Eight buckets per octave, by integer arithmetic: octave from the bit length, eighth from the bits below.
    if microseconds < 8:
        return max(microseconds, 0)
    octave = microseconds.bit_length() - 4
    return 8 * (octave + 1) + (microseconds >> octave) - 8


def _upper(bucket: int) -> int:
    if bucket < 8:
        return bucket
    octave, eighth = divmod(bucket - 8, 8)
    return ((eighth + 9) << octave) - 1
