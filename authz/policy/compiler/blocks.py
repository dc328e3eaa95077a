"""Resource blocks to plain rules, and the names that they declare.

``"view" if "owner";`` in ``resource Patient`` says ``has_permission(actor: Actor, "view", resource: Patient) if
has_role(actor, "owner", resource)``; with ``on "patient"`` it goes through ``has_relation`` (Oso's documentation,
"Actor and Resource Blocks").
"""

from collections.abc import Iterable
from dataclasses import dataclass

from authz.errors import Fault
from authz.policy.compiler.parser import Block, Call, Literal, Node, Op, Param, Rule, Shorthand, Source, Var
from authz.policy.compiler.resolve import near
from authz.policy.compiler.schema import Schema

_NOUNS = {"has_permission": "permission", "has_role": "role", "has_relation": "relation"}


@dataclass(frozen=True)
class Declared:
    """What the blocks of a policy say: rules, groups of types, and words by (rule name, type)."""

    rules: list[Rule]
    groups: dict[str, frozenset[str]]
    words: dict[tuple[str, str], set[str]]


def expand(source: Source, types: Schema) -> Declared:
    """The blocks of a policy as rules and words; every fault is added to `source.faults`."""
    blocks: dict[str, Block] = {}
    for block in source.blocks:
        if block.type not in types.types:
            source.faults.append(block.place.fault(f"there is no type {block.type!r}{near(block.type, types.types)}"))
        elif block.type in blocks:
            source.faults.append(block.place.fault(f"{block.type} has a block already"))
        else:
            blocks[block.type] = block
            _check_relations(block, types, source.faults)
    words = {}
    for name, block in blocks.items():
        words["has_permission", name] = set(block.permissions)
        words["has_role", name] = set(block.roles)
        words["has_relation", name] = set(block.relations)
    groups = {
        "Actor": frozenset(name for name, block in blocks.items() if block.kind == "actor"),
        "Resource": frozenset(name for name, block in blocks.items() if block.kind == "resource"),
    }
    rules = [
        rule
        for block in blocks.values()
        for shorthand in block.shorthands
        if (rule := _rule(block, shorthand, blocks, source.faults)) is not None
    ]
    _check_heads(source.rules, words, groups, types, source.faults)
    return Declared([*source.rules, *rules], groups, words)


def _check_relations(block: Block, types: Schema, faults: list[Fault]) -> None:
    for name, (target, place) in block.relations.items():
        if target not in types.types:
            faults.append(place.fault(f"the relation {name} leads to {target!r}, which is no type"))


def _rule(block: Block, said: Shorthand, blocks: dict[str, Block], faults: list[Fault]) -> Rule | None:
    head = _rule_of(said.granted, block)
    if head is None or head == "has_relation":
        faults.append(said.place.fault(f"{block.type} declares neither a permission nor a role {said.granted!r}"))
        return None
    holder = block
    if said.relation is not None:
        target = block.relations.get(said.relation, ("", said.place))[0]
        if target not in blocks:
            faults.append(
                said.place.fault(f"{block.type} declares no relation {said.relation!r} to a type with a block")
            )
            return None
        holder = blocks[target]
    through = _rule_of(said.held, holder)
    if through is None:
        known = [*holder.roles, *holder.permissions, *holder.relations]
        faults.append(said.place.fault(f"{holder.type} declares no {said.held!r}{near(said.held, known)}"))
        return None
    at = said.place
    actor, resource, related = Var(at, "actor"), Var(at, "resource"), Var(at, "related")
    if said.relation is None:
        body: Node = Call(at, through, (actor, Literal(at, said.held), resource))
    else:
        way = Call(at, "has_relation", (related, Literal(at, said.relation), resource))
        body = Op(at, "and", (way, Call(at, through, (actor, Literal(at, said.held), related))))
    params = (Param(actor, "Actor"), Param(Literal(at, said.granted), None), Param(resource, block.type))
    return Rule(at, head, params, body)


def _rule_of(word: str, block: Block) -> str | None:
    if word in block.permissions:
        return "has_permission"
    if word in block.roles:
        return "has_role"
    return "has_relation" if word in block.relations else None


def _check_heads(
    rules: list[Rule],
    words: dict[tuple[str, str], set[str]],
    groups: dict[str, frozenset[str]],
    types: Schema,
    faults: list[Fault],
) -> None:
    """Every type in a rule's head exists, and every role, permission or action there is declared for its type."""
    known = {*types.types, *groups, "String", "Integer", "Boolean", "Float"}
    for rule in rules:
        for param in rule.params:
            if param.type is not None and param.type not in known:
                faults.append(param.term.place.fault(f"there is no type {param.type!r}{near(param.type, known)}"))
        if rule.name == "allow" and len(rule.params) != 3:
            faults.append(rule.place.fault("allow takes an actor, an action and a resource"))
        if len(rule.params) == 3 and rule.name in (*_NOUNS, "allow"):
            _check_word(rule, words, faults)
    subjects = {one.polar for one in types.subjects}
    for rule in rules:
        actor = rule.params[0].type if rule.name == "allow" and rule.params else None
        if actor in types.types and actor not in subjects:
            faults.append(rule.place.fault(f"{actor} is never a subject, so this rule never applies"))


def _check_word(rule: Rule, words: dict[tuple[str, str], set[str]], faults: list[Fault]) -> None:
    name = "has_permission" if rule.name == "allow" else rule.name
    word, declared = rule.params[1].term, words.get((name, rule.params[2].type or ""))
    if isinstance(word, Literal) and declared and str(word.value) not in declared:
        noun, where = _NOUNS[name], rule.params[2].type
        faults.append(word.place.fault(f"{where} declares no {noun} {word.value!r}{near(str(word.value), declared)}"))


def nodes(node: Node | None) -> Iterable[Node]:
    """A node and all below it."""
    if node is None:
        return
    yield node
    for part in (getattr(node, name, None) for name in ("args", "items", "base", "term")):
        if isinstance(part, Node):
            yield from nodes(part)
        elif isinstance(part, tuple):
            for one in part:
                yield from nodes(one)
