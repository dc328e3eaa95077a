"""Checks of a policy's text as a whole, before any rule is resolved: what would load and then never mean anything.

    view(p, x) if owns(p);    →   faults: x stands here alone; there is no rule owns

They refuse all that Oso's own validation refuses (`oso_reader`), so that a policy is refused alike where Oso is not
installed. A rule that nobody calls is checked too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from authz.errors import Fault
from authz.policy.compiler.blocks import Declared
from authz.policy.compiler.functions import FUNCTIONS
from authz.policy.compiler.nodes import (
    Block,
    Call,
    Isa,
    ListOf,
    Literal,
    Node,
    Op,
    Param,
    Place,
    Rule,
    Shift,
    Shorthand,
    Source,
    Var,
    walk,
)
from authz.policy.compiler.refusals import suggest
from authz.policy.compiler.schema import Schema

BUILTIN_TYPES = {"String", "Integer", "Boolean", "Float", "List", "Dictionary"}
_CONSTANTS = {"now", "nil", *BUILTIN_TYPES}
_LITERAL_TYPES = {str: "String", bool: "Boolean", int: "Integer", float: "Float"}
_HEADS: Mapping[str, tuple[str | None, ...]] = {
    "allow": (None, None, None),
    "allow_field": (None, None, None, None),
    "allow_request": (None, None),
    "has_permission": ("Actor", "String", "Resource"),
}
"""The types of the parameters of the rules that the language itself knows; None stands for any."""
_ROLE_HEAD = ("Actor", "String", "Resource")
"""The head of `has_role`, in a policy in which some block declares a role."""


def check(source: Source, declared: Declared, schema: Schema) -> Iterator[Fault]:
    """Yield every fault of a policy's rules and blocks that can be seen without resolving them."""
    heads = _known_heads(source)
    with_blocks = frozenset(block.type for block in source.blocks)
    groups = {"Actor": declared.groups["Actor"], "Resource": with_blocks}
    named = {rule.name for rule in declared.rules} | set(FUNCTIONS)
    for rule in source.rules:
        yield from _lone_variables(rule, schema)
        yield from _undefined_calls(rule, named)
        yield from _unknown_types(rule, {*schema.types, *groups, *BUILTIN_TYPES})
        yield from _misplaced(rule)
        yield from _head_faults(rule, heads.get(rule.name, []), groups)
    for block in source.blocks:
        yield from _missing_rules(block, named)


def _lone_variables(rule: Rule, schema: Schema) -> Iterator[Fault]:
    known = {*_CONSTANTS, *schema.types}
    counts = Counter(variable.name for variable in rule.variables)
    for variable in rule.variables:
        name = variable.name
        if counts[name] == 1 and "::" not in name and not name.startswith("_") and name not in known:
            why = f"the variable {name} stands in its rule once alone; write _{name} or _ if it may be anything"
            yield variable.place.fault(why)


def _undefined_calls(rule: Rule, named: set[str]) -> Iterator[Fault]:
    for node in walk(rule.body):
        if isinstance(node, Call) and node.name not in named:
            yield node.place.fault(f"there is no rule {node.name}{suggest(node.name, named)}")


def _unknown_types(rule: Rule, known: set[str]) -> Iterator[Fault]:
    for node in walk(rule.body):
        if isinstance(node, Isa) and node.type not in known:
            yield node.place.fault(f"there is no type {node.type!r}{suggest(node.type, known)}")


# Conditions and values, each where it belongs.


def _misplaced(rule: Rule) -> Iterator[Fault]:
    """Yield a fault for each condition that stands where a value belongs, and the reverse."""
    for param in rule.params:
        yield from _no_values(param.term)
    if rule.body is not None:
        yield from _no_conditions(rule.body)


def _no_conditions(node: Node) -> Iterator[Fault]:
    """Yield the faults of a node that stands where a condition belongs."""
    match node:
        case Op(op="and" | "or" | "not"):
            for arg in node.args:
                yield from _no_conditions(arg)
        case Op() | Call():
            for arg in node.args:
                yield from _no_values(arg)
        case Isa():
            yield from _no_values(node.term)
        case Literal(value=bool()):
            return
        case Literal() | ListOf() | Shift():
            yield node.place.fault("a condition is a comparison, a call of a rule or a truth value; compare this value")
        case _:
            yield from _no_values(node)


def _no_values(node: Node) -> Iterator[Fault]:
    """Yield the faults of a node that stands where a value belongs."""
    if isinstance(node, Call):
        why = f"a rule has no value, so {node.name}(…) stands alone; let it take a variable that the rule compares"
        yield node.place.fault(why)
    elif isinstance(node, Op | Isa):
        yield node.place.fault("a value was expected here, not a condition")
    for part in (getattr(node, "base", None), *getattr(node, "items", ())):
        if isinstance(part, Node):
            yield from _no_values(part)


# Heads: what each parameter must be.


Head = tuple[Param, ...]


def _known_heads(source: Source) -> dict[str, list[Head]]:
    """Return the heads that the language and the policy itself know, by the name of the rule."""
    known = dict(_HEADS)
    if any(block.roles for block in source.blocks):
        known["has_role"] = _ROLE_HEAD
    heads = {name: [tuple(_typed(type_name) for type_name in types)] for name, types in known.items()}
    for block in source.blocks:
        for name, (target, place) in block.relations.items():
            head = (_typed(target), Param(Literal(place, name), None), _typed(block.type))
            heads.setdefault("has_relation", []).append(head)
    for prototype in source.prototypes:
        heads.setdefault(prototype.name, []).append(prototype.params)
    return heads


def _typed(type_name: str | None) -> Param:
    return Param(Var(Place("", 0, 0), "_"), type_name)


def _head_faults(rule: Rule, heads: Sequence[Head], groups: Mapping[str, frozenset[str]]) -> Iterator[Fault]:
    for param in rule.params:
        if param.type is not None and not isinstance(param.term, Var):
            yield param.term.place.fault("a literal in a head takes no type; leave the type out")
    if heads and not any(_fits(rule, head, groups) for head in heads):
        yield rule.place.fault(_head_text(rule.name, heads))


def _fits(rule: Rule, head: Head, groups: Mapping[str, frozenset[str]]) -> bool:
    return len(head) == len(rule.params) and all(
        _fits_param(param, wanted, groups) for param, wanted in zip(rule.params, head, strict=True)
    )


def _fits_param(param: Param, wanted: Param, groups: Mapping[str, frozenset[str]]) -> bool:
    if isinstance(wanted.term, Literal) and not (
        isinstance(param.term, Literal) and param.term.value == wanted.term.value
    ):
        return False
    if wanted.type is None:
        return True
    if isinstance(param.term, Literal):
        return _LITERAL_TYPES[type(param.term.value)] == wanted.type
    if param.type is None:
        return False
    return param.type == wanted.type or param.type in groups.get(wanted.type, ())


def _head_text(name: str, heads: Sequence[Head]) -> str:
    forms = [f"{name}({', '.join(map(_param_text, head))})" for head in heads]
    note = "; Actor and Resource are the types that have blocks" if "Actor" in forms[0] else ""
    return f"{name} takes other parameters: {' or '.join(forms)}{note}"


def _param_text(param: Param) -> str:
    if isinstance(param.term, Literal):
        return f'"{param.term.value}"'
    return "_" if param.type is None else f"_: {param.type}"


# Blocks: the rules that their lines need.


def _missing_rules(block: Block, named: set[str]) -> Iterator[Fault]:
    if block.roles and "has_role" not in named:
        place = next(iter(block.roles.values()))
        example = f'has_role(actor: Actor, "{next(iter(block.roles))}", it: {block.type}) if …;'
        yield place.fault(f"{block.type} declares roles, but no rule has_role says who has them; write {example}")
    line = next((line for line in block.shorthands if _needs_relation(line, block)), None)
    if line is not None and "has_relation" not in named:
        name = line.relation or line.held
        example = f'has_relation(it: {_target(block, name)}, "{name}", of: {block.type}) if …;'
        yield line.place.fault(f"no rule has_relation says what {name} leads to; write {example}")


def _needs_relation(line: Shorthand, block: Block) -> bool:
    return line.relation is not None or line.held in block.relations


def _target(block: Block, relation: str) -> str:
    target: tuple[str, Place] = block.relations.get(relation, ("Type", block.place))
    return target[0]
