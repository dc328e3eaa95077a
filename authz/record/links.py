"""The relations of a version of an entity: in memory, in the tables and in events.

A relation to one type is the id of its target (`EntityLink`). A relation to many, or to several types, is the ordered
targets, each its type and id (`EntityTarget`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from authz.database import Database
from authz.database.statements import select_in
from authz.policy.entity_properties import Relations

Target = tuple[str, str]
"""The type and the id of a row that a relation leads to."""
Link = str | tuple[Target, ...]
Links = dict[str, Link]

LinkRow = tuple[str, str]
TargetRow = tuple[str, str, str]


def read_links(database: Database, versions: Sequence[int]) -> tuple[dict[int, Links], dict[int, set[str]]]:
    """Return the relations of stored versions, and the types that their rows name as the type of the version."""
    links: dict[int, Links] = defaultdict(dict)
    types: dict[int, set[str]] = defaultdict(set)
    numbers = list(versions)
    sql = "SELECT entity_id, property, type, target FROM entity_link WHERE entity_id"
    for version, name, kind, target in select_in(database, sql, numbers) if numbers else ():
        links[version][name] = target
        types[version].add(kind)
    targets: dict[tuple[int, str], list[Target]] = defaultdict(list)
    sql = "SELECT entity_id, property, type, target_type, target FROM entity_target WHERE entity_id"
    for version, name, kind, target_type, target in select_in(database, sql, numbers) if numbers else ():
        targets[version, name].append((target_type, target))
        types[version].add(kind)
    for (version, name), pairs in targets.items():
        single = links[version].get(name)  # only a forged row makes one property both
        forged = [] if single is None else [("", str(single))]
        links[version][name] = tuple(sorted(pairs + forged))
    return links, types


def serialize_links(links: Mapping[str, Link]) -> dict[str, object]:
    """Return relations as events contain them: an id, or a list of types and ids."""
    return {
        name: link if isinstance(link, str) else [{"type": kind, "id": target} for kind, target in link]
        for name, link in links.items()
    }


def link_rows(links: Mapping[str, Link]) -> Iterator[LinkRow]:
    """Yield property and target of each relation that `EntityLink` holds."""
    yield from ((name, link) for name, link in links.items() if isinstance(link, str))


def target_rows(links: Mapping[str, Link]) -> Iterator[TargetRow]:
    """Yield property, target type and target of each row that `EntityTarget` holds."""
    for name, link in links.items():
        if not isinstance(link, str):
            yield from ((name, kind, target) for kind, target in link)


def links_of(relations: Relations) -> Links:
    """Return relations as they are stored."""
    return {
        name: relation if isinstance(relation[0], tuple) else str(relation[1]) for name, relation in relations.items()
    }
