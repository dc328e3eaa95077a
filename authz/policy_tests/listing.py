"""The listing: a policy's text with its coverage, for a terminal and as a page of HTML.

Each rule head, each line of a block and each condition has a state: *covered*, *partly* (it decides a permit, and alone
causes no denial, or the other way round), *uncovered*. A line shows the state that is farthest from covered as a mark
before it, so that the listing reads without colours, too.
"""

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from authz.policy_tests.coverage import ConditionCoverage, Coverage, RuleCoverage, uncovered

State = Literal["covered", "partly", "uncovered"]
MARKS: Mapping[State | None, str] = {"covered": "+", "partly": "~", "uncovered": "-", None: " "}
COLOURS: Mapping[State, str] = {"covered": "green", "partly": "yellow", "uncovered": "red"}
_ORDER: tuple[State, ...] = ("uncovered", "partly", "covered")


@dataclass(frozen=True)
class ListedLine:
    """A line of a file: its number, its mark, and its text in parts, each with its state if it has one."""

    number: int
    mark: str
    parts: tuple[tuple[str, State | None], ...]


def listed_files(texts: Mapping[str, str], coverage: Coverage) -> Iterator[tuple[str, list[ListedLine]]]:
    """Yield each policy file with its lines."""
    for file, text in texts.items():
        if file.endswith(".polar"):
            yield file, _lines(text, [rule for rule in coverage.rules if rule.rule.span.file == file])


def describe_coverage(coverage: Coverage) -> str:
    """Return the line that sums up."""
    facets = coverage.facets
    rules = [rule.permits for rule in coverage.rules]
    conditions = [condition for rule in coverage.rules for condition in rule.conditions]
    permits = [condition.permits for condition in conditions]
    denials = [condition.denies for condition in conditions if condition.denies is not None]
    return (
        f"coverage {coverage.percent:.1f} % ({sum(facets)} of {len(facets)}): "
        f"rules that permit {sum(rules)}/{len(rules)}, "
        f"conditions that permit {sum(permits)}/{len(permits)}, that alone deny {sum(denials)}/{len(denials)}"
    )


def coverage_page(texts: Mapping[str, str], coverage: Coverage, version: str) -> str:
    """Return the listing as a page of HTML, which needs no other file."""
    files = "\n".join(_file_html(file, lines) for file, lines in listed_files(texts, coverage))
    lacks = "\n".join(f"<li><code>{html.escape(place)}</code>: {why}</li>" for place, why in uncovered(coverage))
    return _PAGE.format(
        version=html.escape(version[:12]),
        summary=html.escape(describe_coverage(coverage)),
        lacks=f"<ul>\n{lacks}\n</ul>" if lacks else "<p>Everything is covered.</p>",
        files=files,
    )


def _lines(text: str, rules: Iterable[RuleCoverage]) -> list[ListedLine]:
    states: list[State | None] = [None] * len(text)
    for rule in rules:
        for begin, end, state in _spans(rule):
            states[begin:end] = [state] * (end - begin)
    lines: list[ListedLine] = []
    offset = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        of_line = states[offset : offset + len(line)]
        present = set(of_line)
        worst = next((state for state in _ORDER if state in present), None)
        lines.append(ListedLine(number, MARKS[worst], tuple(_parts(line.rstrip("\r\n"), of_line))))
        offset += len(line)
    return lines


def _spans(rule: RuleCoverage) -> Iterator[tuple[int, int, State]]:
    """Yield the begin, the end and the state of a rule's head, or of a line of a block, and of each condition."""
    head: State = "covered" if rule.permits else "uncovered"
    statement = rule.rule.statement
    if statement is None:
        yield rule.rule.span.begin, rule.rule.span.end, head
        return
    yield statement.head[0].begin, statement.head[-1].end, head
    for condition in rule.conditions:
        span = condition.condition.span
        yield span.begin, span.end, _state(condition)


def _state(condition: ConditionCoverage) -> State:
    facets = [condition.permits, *([] if condition.denies is None else [condition.denies])]
    if all(facets):
        return "covered"
    return "partly" if any(facets) else "uncovered"


def _parts(line: str, states: list[State | None]) -> Iterator[tuple[str, State | None]]:
    """Yield the parts of a line that have one state."""
    begin = 0
    for index in range(1, len(line) + 1):
        if index == len(line) or states[index] != states[begin]:
            yield line[begin:index], states[begin]
            begin = index


def _file_html(file: str, lines: Iterable[ListedLine]) -> str:
    rows = "\n".join(_line_html(line) for line in lines)
    return f"<h2>{html.escape(file)}</h2>\n<pre>{rows}</pre>"


def _line_html(line: ListedLine) -> str:
    parts = "".join(
        html.escape(text) if state is None else f'<span class="{state}" title="{state}">{html.escape(text)}</span>'
        for text, state in line.parts
    )
    return f'<span class="number">{line.number:4} {line.mark}</span> {parts}'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Coverage of policy {version}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }}
body {{ color: #1a1a1a; background: #fff }}
pre {{ font: 14px/1.5 ui-monospace, monospace; overflow-x: auto; border: 1px solid #bbb; padding: 0.5rem }}
.number {{ color: #595959; user-select: none }}
.covered {{ background: #d9f2d9 }}
.partly {{ background: #fff0b3; text-decoration: underline dotted }}
.uncovered {{ background: #ffd6d6; text-decoration: underline wavy #a00000 }}
</style>
</head>
<body>
<h1>Coverage of policy {version}</h1>
<p>{summary}</p>
<p>Before each line: <code>+</code> <span class="covered">covered</span>, <code>~</code>
<span class="partly">partly</span>,
<code>-</code> <span class="uncovered">not covered</span>.</p>
{lacks}
{files}
</body>
</html>
"""
