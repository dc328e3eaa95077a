"""The CPU seconds in which a policy of many types compiles, in one process.

python -m benchmarks.compiling
"""

import sys
import time

from authz.policy.compiler import compile_texts

ROLES = 3


def model(types: int) -> dict[str, str]:
    """Return a policy of some types, each with ten rules: roles that imply one another, and actions."""
    declared = ['[u]\nname = "string"\n']
    rules = []
    for number in range(types):
        name = f"T{number}"
        declared.append(f'[t{number}]\nowner = "U"\nkind = "string"\n')
        rules += [
            f'allow(u: U, "view", x: {name}) if may(u, "viewer", x);',
            f'allow(u: U, "edit", x: {name}) if may(u, "owner", x) and x.kind = "a";',
            f'may(u: U, "viewer", x: {name}) if may(u, "owner", x);',
            f'may(u: U, "owner", x: {name}) if x.owner = u;',
        ]
        for role in range(ROLES):
            rules.append(f'may(u: U, "role{role}", x: {name}) if x.owner = u and x.kind = "{role}";')
            rules.append(f'allow(u: U, "act{role}", x: {name}) if may(u, "role{role}", x);')
    return {"policy.polar": "\n".join(rules), "types.toml": "".join(declared)}


def main() -> None:
    """Print the CPU seconds for 25, 50 and 100 types."""
    for types in (25, 50, 100):
        began = time.process_time()
        policy = compile_texts(model(types))
        seconds = time.process_time() - began
        sys.stdout.write(f"{types} types, {policy.rules} rules: {seconds:.2f} s of CPU\n")


if __name__ == "__main__":
    main()
