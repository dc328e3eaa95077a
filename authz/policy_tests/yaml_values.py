"""YAML with places: a document becomes values that know their line and column, or a fault.

    permit: {view: R3}   →   Value({"permit": Value({"view": Value("R3")})})

YAML has more than a test needs. Refused are anchors and aliases, tags, several documents, a key that occurs twice, and
more than `DEEPEST` levels or `MOST_VALUES` values. A plain scalar is null, true, false, a number, or else a text:
``no`` and ``2026-01-01`` are texts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import yaml

from authz.errors import Fault

DEEPEST = 20
MOST_VALUES = 200_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,30})?")
_PLAIN = {"null": None, "~": None, "": None, "true": True, "false": False}


class YamlRefused(Exception):
    """A document that cannot be read; `fault` has the place and the reason."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


@dataclass(frozen=True)
class Value:
    """A value and its place. The content of a mapping are its values by key, that of a list its values."""

    content: "str | int | float | bool | dict[str, Value] | list[Value] | None"
    file: str
    line: int
    column: int
    block: bool = False
    keys: "dict[str, Value] | None" = None
    """The keys of a mapping, with their places."""

    def fault(self, why: str) -> Fault:
        """Return a fault that stands here."""
        return Fault(self.file, self.line, self.column, why)

    def refuse(self, why: str) -> NoReturn:
        """Refuse the document because of this value."""
        raise YamlRefused(self.fault(why))

    def plain(self) -> object:
        """Return the value without its places."""
        if isinstance(self.content, dict):
            return {key: value.plain() for key, value in self.content.items()}
        return [value.plain() for value in self.content] if isinstance(self.content, list) else self.content

    @property
    def noun(self) -> str:
        """The noun for the value in an error, such as *a list*."""
        return {dict: "a mapping", list: "a list", str: "a text", type(None): "nothing"}.get(
            type(self.content), f"the value {self.content!r}"
        )


def read_yaml(text: str, file: str) -> Value:
    """Return the value of a document. Raises `YamlRefused`."""
    try:
        return _Reader(file, yaml.parse(text, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise YamlRefused(Fault(file, line, column, f"is no YAML: {error.problem or error.context}")) from error
    except yaml.YAMLError as error:
        raise YamlRefused(Fault(file, 0, 0, f"is no YAML: {str(error).splitlines()[0]}")) from error


class _Reader:
    def __init__(self, file: str, events: Iterator[yaml.Event]) -> None:
        self.file = file
        self.events = events
        self.count = 0

    def document(self) -> Value:
        """Read the only document."""
        events = self.events
        next(events)
        begin = next(events)
        if isinstance(begin, yaml.StreamEndEvent):
            raise YamlRefused(Fault(self.file, 1, 1, "is empty"))
        value = self.value(next(events), 0)
        next(events)
        end = next(events)
        if not isinstance(end, yaml.StreamEndEvent):
            self.at(end).refuse("a second document begins here; write a file for each")
        return value

    def at(self, event: yaml.Event, content: str | None = None) -> Value:
        mark = event.start_mark
        return Value(content, self.file, mark.line + 1, mark.column + 1, getattr(event, "style", None) in ("|", ">"))

    def value(self, event: yaml.Event, depth: int) -> Value:
        """Read the value that an event begins."""
        self.count += 1
        here = self.at(event)
        if self.count > MOST_VALUES or depth > DEEPEST:
            here.refuse(f"a document has at most {MOST_VALUES:,} values in {DEEPEST} levels")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            here.refuse("anchors and aliases are not read; write the value again")
        if event.tag is not None and event.tag != "!":
            here.refuse(f"tags such as {event.tag} are not read")
        if isinstance(event, yaml.ScalarEvent):
            content = event.value if event.style else _scalar(event.value)
            return Value(content, here.file, here.line, here.column, here.block)
        if isinstance(event, yaml.SequenceStartEvent):
            return Value(list(self.items(depth)), here.file, here.line, here.column)
        return self.mapping(here, depth)

    def items(self, depth: int) -> Iterator[Value]:
        """Read the values of a list up to its end."""
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            yield self.value(event, depth + 1)

    def mapping(self, here: Value, depth: int) -> Value:
        """Read the keys and values of a mapping up to its end."""
        content: dict[str, Value] = {}
        keys: dict[str, Value] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.value(event, depth + 1)
            if not isinstance(event, yaml.ScalarEvent):
                key.refuse("a key is a text")
            name = event.value
            if name in content:
                key.refuse(f"the key {name!r} occurs twice")
            content[name], keys[name] = self.value(next(self.events), depth + 1), key
        return Value(content, here.file, here.line, here.column, keys=keys)


def _scalar(text: str) -> str | int | float | bool | None:
    """Return the value of a plain scalar."""
    if text in _PLAIN:
        return _PLAIN[text]
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return float(text) if number[2] else int(text)
