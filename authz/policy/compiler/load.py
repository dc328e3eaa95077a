"""Loading: a policy directory to a compiled policy, or a refusal that lists every fault with its place.

    policies/*.polar, policies/types.toml   →   CompiledPolicy, or PolicyRefused

All of it or nothing: the files are read, parsed, checked against the schema and as a whole (`checks`), read by Oso
where it is installed, resolved, and simplified.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from authz.errors import Fault, PolicyRefused
from authz.policy.compiler.blocks import Declared, expand
from authz.policy.compiler.checks import check
from authz.policy.compiler.ir import Query
from authz.policy.compiler.lint import warn
from authz.policy.compiler.lives import restrict_to_lives
from authz.policy.compiler.nodes import Dot, Rule, Source, Var, walk
from authz.policy.compiler.oso_reader import read_by_oso
from authz.policy.compiler.parser import parse
from authz.policy.compiler.refusals import MOST_STEPS, Refused, StepBudget, suggest
from authz.policy.compiler.resolve import Resolver
from authz.policy.compiler.rule_numbers import number_rules, sentences_of
from authz.policy.compiler.schema import Schema, read_schema
from authz.policy.compiler.simplify import simplify

LARGEST = 1024 * 1024
"""The most bytes of a policy directory: its text is kept for as long as the record."""
MOST_FILES = 1000

Queries = Mapping[tuple[str, str], tuple[Query, ...]]
"""Conjunctive queries by (subject type, resource type), in Polar's names."""


@dataclass(frozen=True)
class CompiledPolicy:
    """A policy directory as conjunctive queries: `queries` for actions, `role_queries` for declared roles.

    `sentences` are what the numbered comments say, by rule number; `rules` counts the rules. `version` is the SHA-256
    of the directory's files (`texts`, by their names): two policies with one version are the same text.
    """

    version: str
    texts: Mapping[str, str]
    types: Schema
    queries: Queries
    role_queries: Queries
    warnings: tuple[str, ...]
    rules: int
    sentences: Mapping[str, str]

    def actions(self, resource: str) -> list[str]:
        """Return every action that some rule names for a resource type (in Polar's name), in the policy's order."""
        actions = (
            query.action for (_, target), queries in self.queries.items() if target == resource for query in queries
        )
        return list(dict.fromkeys(action for action in actions if action is not None))


def load(folder: str | Path, steps: int = MOST_STEPS) -> CompiledPolicy:
    """Compile every `.polar` file of a policy folder, and its `types.toml` if there is one.

    Raises `PolicyRefused`, with every fault found, if any of it cannot be compiled.
    """
    path = Path(folder)
    files = sorted(path.glob("*.polar")) if path.is_dir() else []
    if not files:
        raise PolicyRefused([Fault(str(folder), 0, 0, "is no directory that holds .polar files")])
    paths = (*files, *path.glob("types.toml"))
    if len(paths) > MOST_FILES:
        raise PolicyRefused([Fault(str(folder), 0, 0, f"has {len(paths)} files; at most {MOST_FILES}")])
    return compile_texts(_read_files(paths), steps)


def _read_files(paths: Iterable[Path]) -> dict[str, str]:
    """Return the texts of files by their names. Raises `PolicyRefused`."""
    texts, faults, remaining = {}, list[Fault](), LARGEST
    for path in paths:
        try:
            with path.open("rb") as file:
                content = file.read(remaining + 1)
            remaining -= len(content)
            if remaining < 0:
                raise PolicyRefused([Fault(path.name, 0, 0, f"the directory has more than {LARGEST} bytes")])
            texts[path.name] = content.decode("utf-8")
            if "\0" in texts[path.name]:
                faults.append(Fault(path.name, 0, 0, "holds a NUL character"))
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(path.name, 0, 0, f"cannot be read: {error}"))
    if faults:
        raise PolicyRefused(faults)
    return texts


def compile_texts(texts: Mapping[str, str], steps: int = MOST_STEPS) -> CompiledPolicy:
    """Compile a policy given as file names and texts; `types.toml` among them declares types.

    `steps` limits the work, on every machine alike. Raises `PolicyRefused` as `load` does.
    """
    try:
        return _compile(texts, steps)
    except RecursionError as error:
        raise PolicyRefused([Fault(", ".join(texts), 0, 0, "the rules are nested too deeply")]) from error


def _compile(texts: Mapping[str, str], steps: int) -> CompiledPolicy:
    schema = read_schema(texts.get("types.toml", ""))
    source = Source()
    for name, text in texts.items():
        if name != "types.toml":
            parse(text, name, source)
    old_numbers = number_rules(source)
    declared = expand(source, schema)
    source.faults += _unknown_names(source.rules, schema)
    if not source.rules and not source.faults:
        raise PolicyRefused([Fault(", ".join(texts), 0, 0, "the policy has no rules")])
    if not source.faults:
        source.faults += check(source, declared, schema)
    if not source.faults:
        rules = {rule.name for rule in source.rules}
        source.faults += read_by_oso(texts, schema, rules, [block.place for block in source.blocks])
    if source.faults:
        raise PolicyRefused(source.faults)
    warnings = list(_warnings(source.rules, old_numbers))
    queries = _resolve(schema, declared, steps, warnings)
    role_queries = _resolve_roles(schema, declared, steps, warnings)
    warnings += warn(source.rules, queries, schema)
    sentences = dict(sentences_of(source.rules))
    version, count = version_of(texts), len(source.rules)
    return CompiledPolicy(version, dict(texts), schema, queries, role_queries, tuple(warnings), count, sentences)


def version_of(texts: Mapping[str, str]) -> str:
    """Return the version of a policy, by the names and texts of its files."""
    digest = hashlib.sha256()
    for name in sorted(texts):
        for part in (name, texts[name]):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _resolve(schema: Schema, declared: Declared, steps: int, warnings: list[str]) -> Queries:
    """Return the queries of every action. Raises `PolicyRefused`."""
    queries, faults = {}, []
    resolver = Resolver(schema, declared.rules, declared.groups, declared.names, StepBudget(steps))
    for subject in schema.subjects:
        for resource in schema.resources:
            try:
                permits = (restrict_to_lives(query, schema) for query in resolver.permits(subject, resource))
                simplified = simplify(permits, resolver.spend)
            except Refused as refused:
                faults.append(refused.fault)
                continue
            if simplified:
                queries[subject.polar, resource.polar] = simplified
    faults = faults or resolver.faults()
    warnings += resolver.warnings()
    if faults:
        raise PolicyRefused(faults)
    return queries


def _resolve_roles(schema: Schema, declared: Declared, steps: int, warnings: list[str]) -> Queries:
    """Return the queries of every declared role. A role that cannot be compiled makes a warning: no action needs it."""
    queries: dict[tuple[str, str], tuple[Query, ...]] = {}
    resolver = Resolver(schema, declared.rules, declared.groups, declared.names, StepBudget(steps))
    for subject in schema.subjects:
        for resource in schema.resources:
            for role in sorted(declared.names.get(("has_role", resource.polar), ())):
                try:
                    holders = (restrict_to_lives(query, schema) for query in resolver.holders(subject, resource, role))
                    simplified = simplify(holders, resolver.spend)
                except (Refused, RecursionError) as error:
                    why = error.fault if isinstance(error, Refused) else "the rules are nested too deeply"
                    warnings.append(f"the role {role} of {resource.polar} cannot be searched: {why}")
                    continue
                if simplified:
                    earlier = queries.get((subject.polar, resource.polar), ())
                    queries[subject.polar, resource.polar] = (*earlier, *simplified)
    return queries


def _unknown_names(rules: Iterable[Rule], schema: Schema) -> list[Fault]:
    """Return a fault for each field that no type has, also in rules that no `allow` rule calls."""
    fields = {name for each in schema.types.values() for name in each.fields} | {"rules", "request"}
    faults = []
    for rule in rules:
        for node in walk(rule.body):
            if isinstance(node, Dot) and node.field not in fields and not _in_request(node):
                faults.append(node.place.fault(f"no type has a field {node.field!r}{suggest(node.field, fields)}"))
    return faults


def _in_request(node: Dot) -> bool:
    base = node.base
    while isinstance(base, Dot):
        if base.field == "request":
            return True
        base = base.base
    return isinstance(base, Var) and base.name == "request"


def _warnings(rules: list[Rule], old_numbers: bool) -> Iterable[str]:
    if old_numbers:
        yield 'rule numbers are in the old form ("R3" in actor.rules); write them as comments (# R3. Sentence.)'
    if not any(rule.name == "allow" for rule in rules):
        yield "no rule is called allow: this policy denies everything"
