"""Functions: the conditions on texts that the language brings, and their SQL on both databases.

    starts_with(x.path, "/a")          →   Condition("starts_with", x.path, "/a")
    in_network(x.ip, "10.0.0.0/8")     →   Condition("in_network", x.ip, "10.0.0.0/8")

An absent text meets none of them. A text that is no address is in no network, so that it denies. A rule of the policy
with the name of a function takes its place.
"""

from typing import Literal

from authz.networks import address_pattern

FUNCTIONS = ("starts_with", "ends_with", "in_network")


def function_sql(name: str, text: str, part: str, network: str, dialect: Literal["sqlite", "postgresql"]) -> str:
    """Return the SQL of a function of two texts; `network` is the literal of `in_network`."""
    match name, dialect:
        case "starts_with", "sqlite":
            return f"substr({text}, 1, length({part})) = {part}"
        case "starts_with", "postgresql":
            return f"starts_with({text}, {part})"
        case "ends_with", "sqlite":
            end = f"substr({text}, length({text}) - length({part}) + 1)"
            return f"(length({text}) >= length({part}) AND {end} = {part})"
        case "ends_with", "postgresql":
            return f"right({text}, length({part})) = {part}"
        case "in_network", "sqlite":
            return f"in_network({text}, {part})"
    is_address = f"{text} ~ '^({address_pattern(network)})$'"
    return f"(CASE WHEN {is_address} THEN ({text})::inet <<= {part}::inet ELSE FALSE END)"
