"""The commands `policy test` and `policy format`: the tests beside a policy, and the style of its text."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from authz.cli.options import as_json, setting, settings, write_json
from authz.cli.policy import policy as policy_group
from authz.cli.progress import row_counter
from authz.domain import format_instant
from authz.errors import InvalidInput, PolicyRefused
from authz.policy.compiler import CompiledPolicy, load
from authz.policy.compiler.formatting import format_text
from authz.policy_tests import Story, StoryResults, read_stories, run_stories
from authz.policy_tests.asking import Outcome
from authz.policy_tests.coverage import Coverage, measure, uncovered
from authz.policy_tests.difference import describe_difference, describe_place
from authz.policy_tests.junit import junit_xml
from authz.policy_tests.listing import COLOURS, coverage_page, describe_coverage, listed_files
from authz.policy_tests.mutants import MutantResult, try_mutants

UNREADABLE = 2
"""The exit code for a policy or a test that cannot be read, so that no question could be asked."""


@policy_group.command("test")
@click.argument("folder", metavar="[DIRECTORY]", required=False)
@click.option("--junit", metavar="FILE", help="Write the results as JUnit XML, too.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="How many processes run.")
@click.option("--coverage", is_flag=True, help="Show which rules and conditions the questions decide by.")
@click.option("--html", metavar="FILE", help="Write the coverage as a page of HTML; measures it, too.")
@click.option(
    "--fail-under",
    metavar="N",
    type=click.FloatRange(0, 100),
    help="Exit 1 if less than N percent is covered; measures the coverage, too.",
)
@click.option(
    "--mutate", is_flag=True, help="Change one condition at a time; list the changes that no question notices."
)
@as_json
@setting("policies")
def test_policy(
    folder: str | None,
    junit: str | None,
    jobs: int,
    coverage: bool,
    html: str | None,
    fail_under: float | None,
    mutate: bool,
    as_json: bool,
    policies: str | None,
) -> None:
    """Ask the questions of the files *_test.yaml of DIRECTORY (default: the policies of the settings).

    Exit 0: every answer is the expected one. 1: a difference, too little coverage, or a change that no question
    notices. 2: the policy or a test cannot be read.
    """
    compiled, stories, results = _run(folder or settings(policies=policies).policies, jobs)
    if junit is not None:
        _write_file(junit, junit_xml(results.results))
    measured = measure(compiled, stories, jobs) if coverage or html is not None or fail_under is not None else None
    if html is not None and measured is not None:
        _write_file(html, coverage_page(compiled.texts, measured, compiled.version).encode())
    listed = {name for story in stories for name in story.unnoticed_mutants}
    mutants = _try_mutants(compiled, stories, jobs) if mutate and not results.failures else None
    if as_json:
        write_json(_serialize(compiled, results, measured, mutants))
    else:
        _write_results(results)
        if measured is not None:
            _write_coverage(compiled, measured, listing=coverage)
        if mutants is not None:
            _write_mutants(mutants, listed)
        elif mutate:
            click.echo("no mutant is tried before every question passes")
    too_little = measured is not None and measured.percent < (fail_under or 0)
    wrong = mutants is not None and _unexpected(mutants, listed)
    sys.exit(1 if results.failures or too_little or wrong else 0)


def _run(folder: str, jobs: int) -> tuple[CompiledPolicy, list[Story], StoryResults]:
    """Return a policy, its stories and their results; exit with `UNREADABLE` if one cannot be read."""
    try:
        compiled = load(folder)
        stories = read_stories(folder, compiled)
        return compiled, stories, run_stories(compiled, stories, jobs)
    except PolicyRefused as refused:
        click.echo(f"caregrant: {refused}", err=True)
        sys.exit(UNREADABLE)


def _try_mutants(compiled: CompiledPolicy, stories: Sequence[Story], jobs: int) -> list[MutantResult]:
    results: list[MutantResult] = []
    with row_counter("mutants") as progress:
        for result in try_mutants(compiled, stories, jobs):
            results.append(result)
            progress(len(results))
    return results


def _unexpected(mutants: Sequence[MutantResult], listed: set[str]) -> bool:
    """Return whether the mutants that no question notices are others than those that the stories list."""
    return {result.mutant.name for result in mutants if result.verdict == "unnoticed"} != listed


def _write_results(results: StoryResults) -> None:
    for outcome in results.failures:
        click.secho(describe_place(outcome), bold=True)
        for line in describe_difference(outcome):
            click.echo(f"    {line}")
        click.echo()
    for refusal in results.refused_searches:
        click.echo(f"not searched: {refusal}")
    count, failed, files = len(results.outcomes), len(results.failures), len(results.results)
    verdict = f"{failed} not as expected" if failed else "all as expected"
    click.echo(f"{count} questions in {files} {'file' if files == 1 else 'files'}, {verdict}")


def _write_coverage(compiled: CompiledPolicy, coverage: Coverage, *, listing: bool) -> None:
    for file, lines in listed_files(compiled.texts, coverage) if listing else ():
        click.echo(f"\n{file}")
        for line in lines:
            parts = "".join(
                text if state is None else click.style(text, fg=COLOURS[state]) for text, state in line.parts
            )
            click.echo(f"{line.number:4} {line.mark} {parts}".rstrip())
    click.echo()
    for place, why in uncovered(coverage):
        click.echo(f"{place}: {why}")
    click.echo(describe_coverage(coverage))


def _write_mutants(mutants: Sequence[MutantResult], listed: set[str]) -> None:
    for result in mutants:
        if result.verdict == "unnoticed" and result.mutant.name not in listed:
            span = result.mutant.span
            click.echo(f"{span.file}:{span.line}:{span.column}: no question notices {result.mutant.name}")
    unnoticed = {result.mutant.name for result in mutants if result.verdict == "unnoticed"}
    for name in sorted(listed - unnoticed):
        click.echo(f"listed as unnoticed, but noticed or no mutant: {name}")
    counts = {verdict: sum(result.verdict == verdict for result in mutants) for verdict in _VERDICTS}
    click.echo(f"{len(mutants)} mutants: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}")


_VERDICTS = ("noticed", "refused", "equivalent", "unnoticed")


def _serialize(
    compiled: CompiledPolicy,
    results: StoryResults,
    coverage: Coverage | None,
    mutants: Sequence[MutantResult] | None,
) -> dict[str, object]:
    body: dict[str, object] = {
        "version": compiled.version,
        "questions": len(results.outcomes),
        "failures": [_serialize_failure(outcome) for outcome in results.failures],
        "refused_searches": results.refused_searches,
    }
    if coverage is not None:
        lacks = [{"place": place, "lack": why} for place, why in uncovered(coverage)]
        body["coverage"] = {"percent": round(coverage.percent, 2), "uncovered": lacks}
    if mutants is not None:
        body["mutants"] = [{"name": result.mutant.name, "verdict": result.verdict} for result in mutants]
    return body


def _serialize_failure(outcome: Outcome) -> dict[str, object]:
    question, decision = outcome.question, outcome.decision
    return {
        "file": question.file,
        "line": question.line,
        "column": question.column,
        "question": question.text,
        "at": format_instant(question.at),
        "expected": {"decision": question.allowed, "reason": question.reason, "rule": question.rule or None},
        "answer": {"decision": decision.allowed, "reason": decision.reason, "rule": outcome.rule or None},
        "searches": outcome.disagreements,
    }


@policy_group.command("format")
@click.argument("folder", metavar="[DIRECTORY]", required=False)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and list the files that would change.")
@setting("policies")
def format_policy(folder: str | None, check: bool, policies: str | None) -> None:
    """Write the .polar files of DIRECTORY (default: the policies of the settings) in one style.

    Meaning and comments stay. Exit 0: done. 1: with --check, a file would change. 2: a file cannot be read.
    """
    path = Path(folder or settings(policies=policies).policies)
    try:
        changed = _changed_files(path)
    except PolicyRefused as refused:
        click.echo(f"caregrant: {refused}", err=True)
        sys.exit(UNREADABLE)
    for file, text in changed:
        if not check:
            _write_file(str(file), text.encode())
        click.echo(f"{'would change' if check else 'changed'} {file}")
    sys.exit(1 if check and changed else 0)


def _changed_files(folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a policy folder whose text the style changes, with the new text."""
    texts = load(folder).texts
    formatted = [(folder / file, format_text(text, file)) for file, text in texts.items() if file.endswith(".polar")]
    return [(file, text) for file, text in formatted if text != texts[file.name]]


def _write_file(name: str, content: bytes) -> None:
    """Write a file as a whole or not at all. Raises `InvalidInput`."""
    partial = Path(f"{name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(name)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InvalidInput(f"{name}: {error.strerror}") from error
