"""Make every fault and print the table: ``python -m tests.faults [--seconds N] [FAULT…]``."""

import argparse
import sys
from collections import Counter

from tests.faults.trials import FAULTS, PROMOTED, Outcome, tried

HEAD = "| Fault | `/healthz` | Decisions | Changes | Slowest decision, change | Back after | Lost, wrong | Record |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make faults of PostgreSQL under a service, and tell what callers got."
    )
    parser.add_argument("--seconds", type=float, default=10, help="how long each fault lasts")
    parser.add_argument("fault", nargs="*", help=f"one of: {', '.join((*FAULTS, PROMOTED))}; all by default")
    chosen = parser.parse_args()
    sys.stdout.write(f"{HEAD}\n|{'---|' * HEAD.count(' | ')}---|\n")
    for name in chosen.fault or (*FAULTS, PROMOTED):
        sys.stdout.write(row(tried(name, chosen.seconds)) + "\n")
        sys.stdout.flush()


def row(one: Outcome) -> str:
    slow = f"{one.slowest['decision']:.1f} s, {one.slowest['change']:.1f} s"
    cells = [
        one.fault,
        *(counted(one.calls[kind]) for kind in ("healthz", "decision", "change")),
        slow,
        f"{one.back:.1f} s",
        f"{one.lost}, {one.wrong}",
        "whole" if one.whole else "BROKEN",
    ]
    return f"| {' | '.join(cells)} |"


def counted(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} × {status or 'no answer'}" for status, count in sorted(statuses.items())) or "–"


main()
