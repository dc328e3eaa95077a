"""Trusted proxies: whose word on a caller's address and scheme is believed (`CAREGRANT_TRUSTED_PROXIES`)."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from authz.errors import InvalidInput

Network = IPv4Network | IPv6Network
_MOST_HOPS = 20


class Proxies:
    """The networks whose forwarded addresses and schemes are believed; of nobody else's."""

    def __init__(self, setting: str) -> None:
        """Raise `InvalidInput` for a word that is neither an address nor a network."""
        try:
            self._networks: tuple[Network, ...] = tuple(ip_network(word) for word in setting.replace(",", " ").split())
        except ValueError as error:
            raise InvalidInput(f"CAREGRANT_TRUSTED_PROXIES names addresses or networks: {error}") from error
        self.trusts = lru_cache(maxsize=1000)(self._trusts)

    def client(self, peer: str, forwarded: str) -> str:
        """Return the client's address: the last one in X-Forwarded-For that no trusted proxy has; else the peer's.

        What stands to the left of an untrusted address is that caller's own word, and never read.
        """
        address = peer
        for word in reversed(forwarded.split(",")[-_MOST_HOPS:]):
            if not self.trusts(address):
                break
            nearer = _address(word)
            if not nearer:
                break
            address = nearer
        return address

    def _trusts(self, address: str) -> bool:
        try:
            parsed = _parse(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _address(word: str) -> str:
    """Return an address as it is written in X-Forwarded-For, without brackets and port; empty for none."""
    text = word.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(_parse(text))
    except ValueError:
        return ""


def _parse(text: str) -> IPv4Address | IPv6Address:
    """Parse an address; one of IPv4 written as IPv6 (``::ffff:192.0.2.1``) is one of IPv4."""
    parsed = ip_address(text)
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
