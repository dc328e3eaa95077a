"""Stories: the files ``*_test.yaml`` of a policy folder, read against the policy that they test.

    now: 2026-06-01T12:00:00Z
    facts: [{subscription: {id: north, name: North Clinic}}, …]
    questions: [{subject: "practitioner:alice", resource: "patient:p-1", permit: {view: R3}, deny: {give_up: R2}}]

Every name is checked: an unknown key, type, action or rule number is a fault with its place, and so is an id that no
fact names. A question that is about the unknown states that: ``deny: {fly: unknown_action}``, ``unknown: [subject]``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from authz.domain import REASONS, parse_instant
from authz.errors import Fault, InvalidInput, PolicyRefused
from authz.importing.lines import Line, parse_line
from authz.policy.compiler import CompiledPolicy, Schema
from authz.policy.compiler.refusals import suggest
from authz.policy.decision import Ref
from authz.policy.plan import Request
from authz.policy_tests.transfers import TRANSFER, Transfer, parse_transfer
from authz.policy_tests.yaml_values import Value, YamlRefused, read_yaml
from authz.texts import parse_stored_id

SUFFIX = "_test.yaml"
LARGEST = 4 * 1024 * 1024
"""The most bytes of a file."""
MOST_FILES = 1000
MOST_QUESTIONS = 20_000
"""The most questions of a file."""

_DENIALS = [reason for reason in REASONS if reason not in ("permitted", "searched", "malformed", "denied")]
STORY_KEYS = ("story", "now", "facts", "questions", "unnoticed_mutants")
QUESTION_KEYS = ("subject", "resource", "permit", "deny", "at", "context", "properties", "unknown")
_BUILT_IN = ("practitioner", "patient", "subscription")
"""The built-in types whose ids facts name."""


@dataclass(frozen=True)
class ExpectedAnswer:
    """A question, its place, and the answer that the story expects: `rule` is empty if any rule will do."""

    file: str
    line: int
    column: int
    subject: Ref
    action: str
    resource: Ref
    at: datetime
    request: Request
    allowed: bool
    reason: str
    rule: str

    @property
    def text(self) -> str:
        """The question as a command would put it."""
        return f"{':'.join(self.subject)} {self.action} {':'.join(self.resource)}"


@dataclass(frozen=True)
class Story:
    """A file of tests: the lines of an import with their places, transfers, and questions."""

    file: str
    title: str
    now: datetime
    lines: tuple[tuple[int, bytes], ...]
    transfers: tuple[Transfer, ...]
    questions: tuple[ExpectedAnswer, ...]
    unnoticed_mutants: Mapping[str, str]
    """The reason for each mutant that no question needs to notice, by the mutant's name."""


def story_files(folder: str | Path) -> list[Path]:
    """Return the files of tests in a folder, in order."""
    return sorted(Path(folder).glob(f"*{SUFFIX}"))


def read_stories(folder: str | Path, policy: CompiledPolicy) -> list[Story]:
    """Read the files of tests in a folder. Raises `PolicyRefused` with the first fault of each file, or for no file."""
    files = story_files(folder)
    if not 0 < len(files) <= MOST_FILES:
        raise PolicyRefused([Fault(str(folder), 0, 0, f"has {len(files)} files *{SUFFIX}; from 1 to {MOST_FILES}")])
    stories, faults = list[Story](), list[Fault]()
    for path in files:
        try:
            stories.append(read_story(_read(path), str(path), policy))
        except YamlRefused as refused:
            faults.append(refused.fault)
    if faults:
        raise PolicyRefused(faults)
    return stories


def read_story(text: str, file: str, policy: CompiledPolicy) -> Story:
    """Read a story. Raises `YamlRefused`."""
    whole = read_yaml(text, file)
    parts = _mapping(whole, STORY_KEYS, required=("now", "facts", "questions"))
    now = _instant(parts["now"])
    lines, transfers, ids = [], [], set[Ref]()
    for place, kind, body in _facts(parts["facts"]):
        if kind == TRANSFER:
            transfers.append(parse_transfer(place, body))
            continue
        content = orjson.dumps({kind: body})
        ids |= set(_ids_of(_line(place, content, policy.types)))
        lines.append((place.line, content))
    names = _Names(policy, ids)
    questions = [question for entry in _list(parts["questions"]) for question in _questions(entry, now, names)]
    if not 0 < len(questions) <= MOST_QUESTIONS:
        parts["questions"].refuse(f"has {len(questions)} questions; from 1 to {MOST_QUESTIONS:,}")
    title = _text(parts["story"]) if "story" in parts else ""
    unnoticed = _texts(parts["unnoticed_mutants"]) if "unnoticed_mutants" in parts else {}
    return Story(file, title, now, tuple(lines), tuple(transfers), tuple(questions), unnoticed)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise YamlRefused(Fault(str(path), 0, 0, f"has more than {LARGEST} bytes"))
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise YamlRefused(Fault(str(path), 0, 0, f"cannot be read: {error}")) from error


# Facts.


def _facts(value: Value) -> Iterator[tuple[Value, str, object]]:
    """Yield each fact with its place, its kind and its fields, from a list of mappings or from NDJSON text."""
    if isinstance(value.content, str):
        for number, line in enumerate(value.content.split("\n"), value.line + value.block):
            if line.strip():
                place = Value(None, value.file, number, 1)
                yield place, *_json_fact(place, line)
        return
    for entry in _list(value):
        fact = _mapping(entry, None)
        if len(fact) != 1:
            entry.refuse(f"a fact has one key, its kind, not {len(fact)}")
        ((kind, body),) = fact.items()
        yield body, kind, body.plain()


def _json_fact(place: Value, line: str) -> tuple[str, object]:
    try:
        whole = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        place.refuse(f"is no JSON: {error}")
    if not isinstance(whole, dict) or len(whole) != 1:
        place.refuse("a fact is a JSON object with one key, its kind")
    ((kind, body),) = whole.items()
    return kind, body


def _line(place: Value, content: bytes, types: Schema) -> Line:
    try:
        return parse_line(place.line, content, types)
    except InvalidInput as error:
        place.refuse(str(error))


def _ids_of(line: Line) -> Iterable[Ref]:
    if line.kind == "entity":
        return [(line.fields["type"], line.fields["id"])]
    return [(line.kind, line.fields["id"])] if line.kind in _BUILT_IN else []


# Questions.


class _Names:
    """The names that a question may use: types, actions and rule numbers of the policy, and ids of the facts."""

    def __init__(self, policy: CompiledPolicy, ids: set[Ref]) -> None:
        self.policy = policy
        self.ids = ids
        queries = [query for each in policy.queries.values() for query in each]
        in_conditions = {condition.rule for query in queries for condition in query.conditions}
        self.rules = {*policy.sentences, *(rule for query in queries for rule in query.rules), *in_conditions} - {""}

    def types(self) -> list[str]:
        """Return the names of the types."""
        return [declared.name for declared in self.policy.types.types.values()]

    def actions(self, subject_type: str, resource_type: str) -> set[str] | None:
        """Return the actions that rules name for two types; None if a rule permits any action."""
        subject, resource = self.policy.types.named(subject_type), self.policy.types.named(resource_type)
        if subject is None or resource is None:
            return set()
        actions = {query.action for query in self.policy.queries.get((subject.polar, resource.polar), ())}
        return None if None in actions else {action for action in actions if action is not None}


def _questions(entry: Value, now: datetime, names: _Names) -> Iterator[ExpectedAnswer]:
    """Yield the questions of an entry: one for each action of ``permit`` and ``deny``."""
    parts = _mapping(entry, QUESTION_KEYS, required=("subject", "resource"))
    if not {"permit", "deny"} & parts.keys():
        entry.refuse("a question has permit, deny or both, each with the actions")
    unknown = _unknown_ends(parts.get("unknown"))
    reasons = {reason for key in ("permit", "deny") if key in parts for _, _, reason in _expected(parts[key])}
    subject, resource = (
        _ref(parts[end], names, is_unknown=end in unknown, any_type="unknown_type" in reasons)
        for end in ("subject", "resource")
    )
    at = _instant(parts["at"]) if "at" in parts else now
    request = _request(parts)
    seen: set[str] = set()
    for key in ("permit", "deny"):
        for place, action, expected in _expected(parts[key]) if key in parts else ():
            if action in seen:
                place.refuse(f"the action {action!r} is both permitted and denied")
            seen.add(action)
            known = names.actions(subject[0], resource[0])
            if known is not None and action not in known and expected not in ("unknown_action", "unknown_type"):
                place.refuse(
                    f"no rule names the action {action!r} of a {subject[0]} on a {resource[0]}{suggest(action, known)}"
                    "; if this is meant, expect unknown_action"
                )
            reason, rule = _expectation(place, key, expected, names)
            yield ExpectedAnswer(
                place.file,
                place.line,
                place.column,
                subject,
                action,
                resource,
                at,
                request,
                key == "permit",
                reason,
                rule,
            )


def _expected(value: Value) -> Iterator[tuple[Value, str, str]]:
    """Yield the place, the action and the expected rule or reason of each action of ``permit`` or ``deny``."""
    if isinstance(value.content, dict):
        for action, expected in value.content.items():
            place = (value.keys or {})[action]
            yield place, action, "" if expected.content is None else _text(expected)
        return
    for entry in _list(value):
        yield entry, _text(entry), ""


def _expectation(place: Value, key: str, expected: str, names: _Names) -> tuple[str, str]:
    """Return the reason and the rule that are expected; the rule is empty if any will do."""
    if key == "deny" and expected in _DENIALS:
        return expected, ""
    if expected and expected not in names.rules:
        reasons = f", nor a reason ({', '.join(_DENIALS)})" if key == "deny" else ""
        place.refuse(f"{expected!r} is no rule of the policy{reasons}{suggest(expected, names.rules)}")
    return ("permitted" if key == "permit" else "denied"), expected


def _ref(value: Value, names: _Names, *, is_unknown: bool, any_type: bool) -> Ref:
    """Return a subject or a resource of a known type, whose id is that of a fact."""
    kind, colon, name = _text(value).partition(":")
    if not (kind and colon and name):
        value.refuse(f"{_text(value)!r} is not of the form type:id, such as patient:p-1")
    try:
        parse_stored_id(name)
    except InvalidInput as error:
        value.refuse(str(error))
    declared = names.policy.types.named(kind)
    if declared is None:
        if not any_type:
            value.refuse(
                f"there is no type {kind!r}{suggest(kind, names.types())}; if this is meant, expect unknown_type"
            )
        return kind, name
    named_by_facts = kind in _BUILT_IN or declared.declared
    if named_by_facts and ((kind, name) in names.ids) == is_unknown:
        if is_unknown:
            value.refuse(f"a fact names the {kind} {name!r}, which is not unknown then")
        similar = suggest(name, [other for of_type, other in names.ids if of_type == kind])
        value.refuse(f"no fact names the {kind} {name!r}{similar}; if this is meant, list it under unknown")
    return kind, name


def _unknown_ends(value: Value | None) -> set[str]:
    if value is None:
        return set()
    ends = [value] if isinstance(value.content, str) else _list(value)
    for end in ends:
        if end.content not in ("subject", "resource"):
            end.refuse("unknown lists subject, resource or both")
    return {_text(end) for end in ends}


def _request(parts: Mapping[str, Value]) -> Request:
    """Return the properties and the context that come with a question."""
    request: dict[str, Any] = {}
    if "context" in parts:
        request["context"] = _plain_mapping(parts["context"])
    if "properties" in parts:
        properties = _mapping(parts["properties"], ("subject", "action", "resource"))
        request |= {end: _plain_mapping(value) for end, value in properties.items()}
    return request


# Values.


def _mapping(value: Value, keys: Iterable[str] | None, required: Iterable[str] = ()) -> dict[str, Value]:
    """Return the values of a mapping by key; refuse unknown and missing keys."""
    if not isinstance(value.content, dict):
        value.refuse(f"a mapping is expected here, not {value.noun}")
    for key, place in (value.keys or {}).items():
        if keys is not None and key not in keys:
            place.refuse(f"there is no key {key!r} here{suggest(key, keys)}; known are {', '.join(keys)}")
    for key in required:
        if key not in value.content:
            value.refuse(f"{key} is missing here")
    return value.content


def _plain_mapping(value: Value) -> dict[str, object]:
    return {key: entry.plain() for key, entry in _mapping(value, None).items()}


def _list(value: Value) -> list[Value]:
    if not isinstance(value.content, list):
        value.refuse(f"a list is expected here, not {value.noun}")
    return value.content


def _text(value: Value) -> str:
    if not isinstance(value.content, str):
        value.refuse(f"a text is expected here, not {value.noun}")
    return value.content


def _texts(value: Value) -> dict[str, str]:
    return {key: _text(entry) for key, entry in _mapping(value, None).items()}


def _instant(value: Value) -> datetime:
    try:
        return parse_instant(value.content)
    except InvalidInput as error:
        value.refuse(str(error))
