"""Who presents wrong keys, and for how long he is refused because of it.  Pure: time is an argument.

A key cannot be guessed: it has 200 random bits.  What this keeps from happening is that somebody who tries costs the database a
look-up each time, and fills the log.  The right key is never refused for another one's wrong keys.
"""

import ipaddress
from dataclasses import dataclass, field

WINDOW_S = 60.0
"""Wrong keys are forgotten when there was none for so long after the last refusal."""
BLOCK_S = 1.0
KNOWN_MAX = 10_000
"""Addresses and prefixes that are remembered; the one that was quiet the longest goes first."""
DOUBLINGS_MAX = 32
IPV6_NETWORK = 64


@dataclass(slots=True)
class _Record:
    count: int = 0
    last_s: float = 0.0
    blocked_until_s: float = 0.0


@dataclass(slots=True)
class Guesses:
    """Counts wrong keys by where they come from and by the prefix that they bear.

    Attributes:
        most: so many may be wrong in a minute; the next ones are refused for a while, which doubles with each of them.  0: no end.
        block_max_s: the longest while.
    """

    most: int
    block_max_s: float
    _records: dict[str, _Record] = field(default_factory=dict)

    def wait_s(self, sources: tuple[str, ...], now_s: float) -> float:
        """How long wrong keys of these sources are still refused; 0: they are not."""
        ends = [record.blocked_until_s for source in sources if (record := self._records.get(source)) is not None]
        return max(0.0, *(end - now_s for end in ends)) if ends else 0.0

    def wrong(self, sources: tuple[str, ...], now_s: float) -> None:
        """A key was wrong."""
        if not self.most:
            return
        for source in sources:
            record = self._records.pop(source, None)
            if record is None or now_s >= max(record.last_s, record.blocked_until_s) + WINDOW_S:
                record = _Record()
            record.count += 1
            record.last_s = now_s
            if record.count >= self.most:
                doublings = min(record.count - self.most, DOUBLINGS_MAX)
                record.blocked_until_s = now_s + min(BLOCK_S * 2**doublings, self.block_max_s)
            while len(self._records) >= KNOWN_MAX:
                del self._records[next(iter(self._records))]
            # Last in the order: it was heard of just now.
            self._records[source] = record

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._records)


def place_of(address: str) -> str:
    """Where an address belongs: of IPv6, whoever has one has its whole network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK), strict=False)) if mapped is None else str(mapped)
