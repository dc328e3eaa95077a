"""Resource blocks to plain rules, and the names that they declare.

    resource Patient { "view" if "owner"; }
    →  has_permission(actor: Actor, "view", resource: Patient) if has_role(actor, "owner", resource);

With ``on "patient"`` the rule goes through ``has_relation`` (Oso's documentation, "Actor and Resource Blocks").
"""

from collections.abc import Mapping
from dataclasses import dataclass

from authz.errors import Fault
from authz.policy.compiler.nodes import Block, Call, Literal, Node, Op, Param, Rule, Shorthand, Source, Var
from authz.policy.compiler.refusals import suggest
from authz.policy.compiler.schema import Schema

_NOUNS = {"has_permission": "permission", "has_role": "role", "has_relation": "relation"}

Names = Mapping[tuple[str, str], set[str]]
"""The names that blocks declare, by rule name and type: ``("has_role", "Patient")`` to its roles."""


@dataclass(frozen=True)
class Declared:
    """The additions by a policy's blocks: all rules, groups of types, and declared names."""

    rules: list[Rule]
    groups: dict[str, frozenset[str]]
    names: Names


def expand(source: Source, schema: Schema) -> Declared:
    """Return the rules of a policy with those of its blocks; every fault is added to `source.faults`."""
    blocks = _blocks_by_type(source, schema)
    names = {}
    for type_name, block in blocks.items():
        names["has_permission", type_name] = set(block.permissions)
        names["has_role", type_name] = set(block.roles)
        names["has_relation", type_name] = set(block.relations)
    groups = {
        "Actor": frozenset(name for name, block in blocks.items() if block.kind == "actor"),
        "Resource": frozenset(name for name, block in blocks.items() if block.kind == "resource"),
    }
    rules = [
        rule
        for block in blocks.values()
        for shorthand in block.shorthands
        if (rule := _expand_shorthand(block, shorthand, blocks, source.faults)) is not None
    ]
    _check_heads(source.rules, names, groups, schema, source.faults)
    return Declared([*source.rules, *rules], groups, names)


def _blocks_by_type(source: Source, schema: Schema) -> dict[str, Block]:
    blocks: dict[str, Block] = {}
    for block in source.blocks:
        if block.type not in schema.types:
            why = f"there is no type {block.type!r}{suggest(block.type, schema.types)}"
            source.faults.append(block.place.fault(why))
        elif block.type in blocks:
            source.faults.append(block.place.fault(f"{block.type} has a block already"))
        else:
            blocks[block.type] = block
            for name, (target, place) in block.relations.items():
                if target not in schema.types:
                    source.faults.append(place.fault(f"the relation {name} leads to {target!r}, which is no type"))
    return blocks


def _expand_shorthand(block: Block, line: Shorthand, blocks: dict[str, Block], faults: list[Fault]) -> Rule | None:
    head = _rule_for(line.granted, block)
    if head is None or head == "has_relation":
        faults.append(line.place.fault(f"{block.type} declares neither a permission nor a role {line.granted!r}"))
        return None
    holder = block
    if line.relation is not None:
        target = block.relations.get(line.relation, ("", line.place))[0]
        if target not in blocks:
            why = f"{block.type} declares no relation {line.relation!r} to a type with a block"
            faults.append(line.place.fault(why))
            return None
        holder = blocks[target]
    through = _rule_for(line.held, holder)
    if through is None:
        known = [*holder.roles, *holder.permissions, *holder.relations]
        faults.append(line.place.fault(f"{holder.type} declares no {line.held!r}{suggest(line.held, known)}"))
        return None
    at = line.place
    actor, resource, related = Var(at, "actor"), Var(at, "resource"), Var(at, "related")
    if line.relation is None:
        body: Node = Call(at, through, (actor, Literal(at, line.held), resource))
    else:
        relation = Call(at, "has_relation", (related, Literal(at, line.relation), resource))
        body = Op(at, "and", (relation, Call(at, through, (actor, Literal(at, line.held), related))))
    params = (Param(actor, "Actor"), Param(Literal(at, line.granted), None), Param(resource, block.type))
    return Rule(at, head, params, body)


def _rule_for(name: str, block: Block) -> str | None:
    """Return the rule that a name of a block belongs to: a permission, a role or a relation."""
    if name in block.permissions:
        return "has_permission"
    if name in block.roles:
        return "has_role"
    return "has_relation" if name in block.relations else None


def _check_heads(
    rules: list[Rule], names: Names, groups: Mapping[str, frozenset[str]], schema: Schema, faults: list[Fault]
) -> None:
    """Add a fault for each type, role, permission or action in the head of a rule that is not declared."""
    known = {*schema.types, *groups, "String", "Integer", "Boolean", "Float"}
    for rule in rules:
        for param in rule.params:
            if param.type is not None and param.type not in known:
                faults.append(param.term.place.fault(f"there is no type {param.type!r}{suggest(param.type, known)}"))
        if rule.name == "allow" and len(rule.params) != 3:
            faults.append(rule.place.fault("allow takes an actor, an action and a resource"))
        if len(rule.params) == 3 and rule.name in (*_NOUNS, "allow"):
            _check_name(rule, names, faults)
    subjects = {subject.polar for subject in schema.subjects}
    for rule in rules:
        actor = rule.params[0].type if rule.name == "allow" and rule.params else None
        if actor in schema.types and actor not in subjects:
            faults.append(rule.place.fault(f"{actor} is never a subject, so this rule never applies"))


def _check_name(rule: Rule, names: Names, faults: list[Fault]) -> None:
    kind = "has_permission" if rule.name == "allow" else rule.name
    term, resource = rule.params[1].term, rule.params[2].type
    declared = names.get((kind, resource or ""))
    if isinstance(term, Literal) and declared and str(term.value) not in declared:
        why = f"{resource} declares no {_NOUNS[kind]} {term.value!r}{suggest(str(term.value), declared)}"
        faults.append(term.place.fault(why))
