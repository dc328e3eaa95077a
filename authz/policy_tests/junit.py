"""JUnit's XML, as systems that run tests read it: a suite for each story, a case for each question."""

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from authz.policy_tests.asking import Outcome
from authz.policy_tests.difference import describe_difference, describe_place
from authz.policy_tests.stories import Story

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML cannot hold."""


def junit_xml(results: Sequence[tuple[Story, Sequence[Outcome]]]) -> bytes:
    """Return the results of stories as an XML document."""
    outcomes = [outcome for _, of_story in results for outcome in of_story]
    root = Element("testsuites", {"name": "caregrant policy test", **_counts(outcomes)})
    for story, of_story in results:
        suite = SubElement(root, "testsuite", {"name": _text(story.file), **_counts(of_story)})
        for outcome in of_story:
            question = outcome.question
            name = _text(f"{question.line}: {question.text}")
            case = SubElement(suite, "testcase", name=name, classname=_text(story.file), file=_text(story.file))
            case.set("line", str(question.line))
            if not outcome.passed:
                lines = describe_difference(outcome)
                failure = SubElement(case, "failure", message=_text("; ".join(lines[:2])), type="difference")
                failure.text = _text("\n".join([describe_place(outcome), *lines]))
    indent(root)
    body: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _counts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    failures = sum(not outcome.passed for outcome in outcomes)
    return {"tests": str(len(outcomes)), "failures": str(failures), "errors": "0"}


def _text(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
