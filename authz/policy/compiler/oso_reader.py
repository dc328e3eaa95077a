"""Oso as a second reader: where Oso is installed, it reads each policy at load, and what it refuses is refused.

Oso has no packages for Python 3.13 and later; there `checks` and the parser stand alone, and refuse the same
(`docs/decisions/0112-polar-without-oso.md`). No text of Oso reaches a person: it names variables that nobody wrote.
"""

import contextlib
import io
import re
from collections.abc import Collection, Mapping
from importlib.util import find_spec

from authz.errors import Fault
from authz.policy.compiler.functions import FUNCTIONS
from authz.policy.compiler.nodes import Place
from authz.policy.compiler.schema import Schema

INSTALLED = find_spec("oso") is not None
"""True if Oso is installed for this Python."""
_WHY = "this is no Polar that Oso reads, too; docs/reference/language.md lists what can be written"


def read_by_oso(texts: Mapping[str, str], schema: Schema, rules: Collection[str], blocks: list[Place]) -> list[Fault]:
    """Return the fault at which Oso stops, if there is one and Oso is installed.

    `rules` are the names of the policy's own rules. If Oso names no place, the fault stands at the first of `blocks`.
    """
    if not INSTALLED:
        return []
    from oso import Oso, OsoError  # Python 3.13 has none  # noqa: PLC0415

    oso = Oso()
    for name in schema.types:
        oso.register_class(type(name, (), {}), name=name)
    oso.register_constant(object(), "now")
    starts, parts, line = [], [], 1
    for name, text in texts.items():
        if name != "types.toml":
            starts.append((line, name))
            parts.append(text if text.endswith("\n") else text + "\n")
            line += parts[-1].count("\n")
    parts += [f"{name}(_text, _part);" for name in FUNCTIONS if name not in rules]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            oso.load_str("".join(parts))
    except OsoError as error:
        place = re.search(r"at line (\d+), column (\d+)", str(error).split("\n")[0])
        if place is None:
            return [blocks[0].fault(_WHY) if blocks else Fault(starts[0][1], 0, 0, _WHY)]
        at = int(place[1])
        begin, name = max(start for start in starts if start[0] <= at)
        return [Fault(name, at - begin + 1, int(place[2]), _WHY)]
    return []
