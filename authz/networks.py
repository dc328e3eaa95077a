"""Addresses and networks of IPv4 and IPv6, as policies name them and both databases compare them."""

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
_GROUP = "[0-9a-fA-F]{1,4}"
_IPV6 = "|".join(
    [
        f"({_GROUP}:){{7}}{_GROUP}",
        f"({_GROUP}:){{6}}{_IPV4}",
        *(f"({_GROUP}:){{{count}}}(:{_GROUP}){{1,{7 - count}}}" for count in range(1, 7)),
        *(f"({_GROUP}:){{{count}}}(:{_GROUP}){{0,{5 - count}}}:{_IPV4}" for count in range(1, 6)),
        f":(:{_GROUP}){{1,7}}",
        f":(:{_GROUP}){{0,5}}:{_IPV4}",
        f"({_GROUP}:){{1,7}}:",
        "::",
    ]
)
_ADDRESSES = {4: re.compile(_IPV4), 6: re.compile(_IPV6)}


def network_fault(text: str) -> str:
    """Return why a text is no network; an empty text if it is one."""
    try:
        ip_network(text)
    except ValueError as error:
        return f'{text!r} is not a network such as "10.0.0.0/8" or "2001:db8::/32": {error}'
    return ""


def address_pattern(network: str) -> str:
    """Return the regular expression, for Python and PostgreSQL alike, of the addresses of a network's version."""
    return _ADDRESSES[_parse_network(network).version].pattern


def in_network(address: object, network: str) -> bool:
    """Return whether a value is an address of a network; a value that is no address is in none."""
    parsed = _parse_network(network)
    if not isinstance(address, str) or not _ADDRESSES[parsed.version].fullmatch(address):
        return False
    return ip_address(address) in parsed


@lru_cache(maxsize=1000)
def _parse_network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)
