"""A policy directory to a compiled policy, or a refusal that lists every fault with its place.

All of it or nothing: the `.polar` files and `types.toml` are read, checked against the vocabulary, loaded by Oso
(which validates what it knows of Polar: syntax, resource blocks, unused variables), resolved, and simplified.
"""

import contextlib
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oso import Oso, OsoError

from authz.errors import Fault, PolicyRefused
from authz.policy.compiler.blocks import Declared, expand, nodes
from authz.policy.compiler.ir import Query
from authz.policy.compiler.lives import restrict_to_lives
from authz.policy.compiler.parser import Dot, Place, Rule, Source, Var, read
from authz.policy.compiler.resolve import Refused, Resolver, near
from authz.policy.compiler.schema import Schema, read_schema
from authz.policy.compiler.simplify import simplified

SECONDS = 10.0
"""A policy that takes longer to compile than this is refused."""
LARGEST = 1024 * 1024
"""The most bytes of a policy directory: its text is kept for as long as the record."""
MOST_FILES = 1000


@dataclass(frozen=True)
class CompiledPolicy:
    """What a policy directory says, as conjunctive queries by (subject type, resource type) in Polar's names.

    `version` is the SHA-256 of the directory's files (`texts`, by their names): two policies with one version are the
    same text.
    """

    version: str
    texts: Mapping[str, str]
    types: Schema
    queries: Mapping[tuple[str, str], tuple[Query, ...]]
    warnings: tuple[str, ...]
    rules: int

    def actions(self, resource: str) -> list[str]:
        """Every action that some rule names for a resource type (in Polar's name), in the policy's order."""
        named = (
            query.action for (_, target), queries in self.queries.items() if target == resource for query in queries
        )
        return list(dict.fromkeys(action for action in named if action is not None))


def load(directory: str | Path, seconds: float = SECONDS) -> CompiledPolicy:
    """Compile every `.polar` file of a directory, and its `types.toml` if there is one.

    Raises `PolicyRefused`, with every fault found, when any of it cannot be compiled.
    """
    folder = Path(directory)
    files = sorted(folder.glob("*.polar")) if folder.is_dir() else []
    if not files:
        raise PolicyRefused([Fault(str(directory), 0, 0, "is no directory that holds .polar files")])
    paths = (*files, *folder.glob("types.toml"))
    if len(paths) > MOST_FILES:
        raise PolicyRefused([Fault(str(directory), 0, 0, f"has {len(paths)} files; at most {MOST_FILES}")])
    texts, faults, left = {}, list[Fault](), LARGEST
    for path in paths:
        try:
            with path.open("rb") as file:
                content = file.read(left + 1)
            left -= len(content)
            if left < 0:
                raise PolicyRefused([Fault(path.name, 0, 0, f"the directory has more than {LARGEST} bytes")])
            texts[path.name] = content.decode("utf-8")
            if "\0" in texts[path.name]:
                faults.append(Fault(path.name, 0, 0, "holds a NUL character"))
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(path.name, 0, 0, f"cannot be read: {error}"))
    if faults:
        raise PolicyRefused(faults)
    return compile_texts(texts, seconds)


def compile_texts(texts: Mapping[str, str], seconds: float = SECONDS) -> CompiledPolicy:
    """Compile a policy given as file names and texts; `types.toml` among them declares types.

    Raises `PolicyRefused` as `load` does.
    """
    try:
        return _compiled(texts, seconds)
    except RecursionError as error:
        raise PolicyRefused([Fault(", ".join(texts), 0, 0, "the rules are nested too deeply")]) from error


def _compiled(texts: Mapping[str, str], seconds: float) -> CompiledPolicy:
    types = read_schema(texts.get("types.toml", ""))
    source = Source()
    for name, text in texts.items():
        if name != "types.toml":
            read(text, name, source)
    declared = expand(source, types)
    source.faults += _unknown_names(source.rules, types)
    if not source.rules and not source.faults:
        raise PolicyRefused([Fault(", ".join(texts), 0, 0, "the policy has no rules")])
    if not source.faults:
        source.faults += _oso_faults(texts, types, [block.place for block in source.blocks if block.kind == "resource"])
    if source.faults:
        raise PolicyRefused(source.faults)
    queries = _resolve(types, declared, seconds)
    return CompiledPolicy(
        version_of(texts), dict(texts), types, queries, tuple(_warnings(source.rules)), len(source.rules)
    )


def version_of(texts: Mapping[str, str]) -> str:
    """Return the version of a policy, by the names and texts of its files."""
    digest = hashlib.sha256()
    for name in sorted(texts):
        for part in (name, texts[name]):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _resolve(types: Schema, declared: Declared, seconds: float) -> dict[tuple[str, str], tuple[Query, ...]]:
    queries, faults = {}, []
    resolver = Resolver(types, declared.rules, declared.groups, declared.words, seconds)
    for subject in types.subjects:
        for resource in types.resources:
            try:
                queries_of = (restrict_to_lives(one, types) for one in resolver.queries(subject, resource))
                found = simplified(queries_of, resolver.check_time)
            except Refused as refused:
                faults.append(refused.fault)
                continue
            if found:
                queries[subject.polar, resource.polar] = found
    if faults:
        raise PolicyRefused(faults)
    return queries


def _unknown_names(rules: Iterable[Rule], types: Schema) -> list[Fault]:
    """Fields that no type has and rules that do not exist, also where no `allow` rule leads."""
    fields = {name for one in types.types.values() for name in one.properties} | {"rules", "request"}
    faults = []
    for rule in rules:
        for node in nodes(rule.body):
            if isinstance(node, Dot) and node.field not in fields and not _in_request(node):
                faults.append(node.place.fault(f"no type has a field {node.field!r}{near(node.field, fields)}"))
    return faults


def _in_request(node: Dot) -> bool:
    base = node.base
    while isinstance(base, Dot):
        if base.field == "request":
            return True
        base = base.base
    return isinstance(base, Var) and base.name == "request"


def _warnings(rules: list[Rule]) -> Iterable[str]:
    if not any(rule.name == "allow" for rule in rules):
        yield "no rule is called allow: this policy denies everything"


def oso_for(types: Schema) -> Oso:
    """An Oso that knows the vocabulary's names; it is asked for nothing but to read and validate."""
    oso = Oso()
    for name in types.types:
        oso.register_class(type(name, (), {}), name=name)
    oso.register_constant(object(), "now")
    return oso


def _oso_faults(texts: Mapping[str, str], types: Schema, blocks: list[Place]) -> list[Fault]:
    """What Oso has against the policy, which it reads as one text; the line says which file is meant.

    Where Oso names no place, a block lacks the rules that it needs.
    """
    starts, parts, line = [], [], 1
    for name, text in texts.items():
        if name != "types.toml":
            starts.append((line, name))
            parts.append(text if text.endswith("\n") else text + "\n")
            line += parts[-1].count("\n")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            oso_for(types).load_str("".join(parts))
    except OsoError as error:
        why = str(error).split("\n")[0].strip()
        where = re.search(r"at line (\d+), column (\d+)", why)
        if where is None:
            return [blocks[0].fault(why) if blocks else Fault(starts[0][1], 0, 0, why)]
        at = int(where[1])
        begin, name = max(start for start in starts if start[0] <= at)
        return [Fault(name, at - begin + 1, int(where[2]), why[: where.start()].strip(" :"))]
    return []
