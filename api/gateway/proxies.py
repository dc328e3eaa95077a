"""Trusted proxies (`CAREGRANT_TRUSTED_PROXIES`): their headers name the client's address and scheme."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from authz.errors import InvalidInput

Network = IPv4Network | IPv6Network
_MOST_HOPS = 20


class Proxies:
    """The networks of the trusted proxies, from a setting that lists addresses and networks."""

    def __init__(self, setting: str) -> None:
        """Raise `InvalidInput` for an entry that is neither an address nor a network."""
        try:
            self._networks: tuple[Network, ...] = tuple(ip_network(item) for item in setting.replace(",", " ").split())
        except ValueError as error:
            raise InvalidInput(f"CAREGRANT_TRUSTED_PROXIES names addresses or networks: {error}") from error
        self.trusts = lru_cache(maxsize=1000)(self._trusts)

    def client(self, peer: str, forwarded: str) -> str:
        """Return the client's address: the last address in X-Forwarded-For that is no trusted proxy's, else the peer's.

        Addresses to the left of an untrusted address are never read, because the untrusted caller could have sent them.
        """
        address = peer
        for hop in reversed(forwarded.split(",")[-_MOST_HOPS:]):
            if not self.trusts(address):
                break
            previous = _normalise_address(hop)
            if not previous:
                break
            address = previous
        return address

    def _trusts(self, address: str) -> bool:
        try:
            parsed = _parse(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _normalise_address(hop: str) -> str:
    """Return an address of X-Forwarded-For without brackets and port; empty for a text that is no address."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(_parse(text))
    except ValueError:
        return ""


def _parse(text: str) -> IPv4Address | IPv6Address:
    """Parse an address; an IPv4 address written as IPv6 (``::ffff:192.0.2.1``) becomes an IPv4 address."""
    parsed = ip_address(text)
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
