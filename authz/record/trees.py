"""The trees as they are stored: one for each subscription, and one for what belongs to none (its name is empty).

A leaf is an event or a sealed batch of decisions. Of the nodes every fourth level is kept, the rest is computed: a
proof reads some rows of sixteen. Trees grow in one order: whoever appends holds the write lock (SQLite), or the
database appends inside COMMIT, under an advisory lock (PostgreSQL).
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from authz.database import Database
from authz.database.statements import insert_rows, run, select_in
from authz.models import MerkleLeaf, MerkleNode, MerkleTree
from authz.record.leaves import stored_bytes
from authz.record.merkle import Frontier, NodeOf, consistency, inclusion, node_hash

STRIDE = 4
"""Nodes of every so many levels are kept."""

_HASH = 32
_GROW = """INSERT INTO tree (edge, size, name) VALUES ({}, {}, {})
    ON CONFLICT (name) DO UPDATE SET edge = excluded.edge, size = excluded.size"""


def extend(database: Database, noun: str, leaves: Iterable[tuple[str, int, bytes]]) -> None:
    """Append leaves, each a tree, the number of its row (`noun`: ``event`` or ``seal``), and its hash, in their order.

    For SQLite, whose writers take turns, and for migrations; PostgreSQL does the same inside COMMIT (`caregrant_grow`).
    """
    by_tree: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for tree, row, leaf in leaves:
        by_tree[tree].append((row, leaf))
    edges = _edges(database, sorted(by_tree))
    told: list[tuple[Any, ...]] = []
    nodes: list[tuple[Any, ...]] = []
    for tree, fresh in by_tree.items():
        edge = edges.get(tree, Frontier())
        told += [(tree, edge.size + at, row, leaf) for at, (row, leaf) in enumerate(fresh)]
        edge, completed = edge.append([leaf for _, leaf in fresh])
        for level, first, hashes in completed:
            if level % STRIDE == 0:
                nodes += [(tree, level, first + at, one) for at, one in enumerate(hashes)]
        run(database, _GROW, b"".join(edge.nodes), edge.size, tree)
    insert_rows(database, MerkleLeaf, ("tree", "number", noun, "hash"), told)
    insert_rows(database, MerkleNode, ("tree", "level", "number", "hash"), nodes)


def _edges(database: Database, names: list[str]) -> dict[str, Frontier]:
    """The trees of these names that are there."""
    found = select_in(database, "SELECT name, size, edge FROM tree WHERE name", names) if names else []
    return {name: _edge(size, stored_bytes(edge)) for name, size, edge in found}


def _edge(size: Any, edge: bytes) -> Frontier:
    return Frontier(
        size if isinstance(size, int) else 0, tuple(edge[at : at + _HASH] for at in range(0, len(edge), _HASH))
    )


def trees(database: Database) -> dict[str, Frontier]:
    """Every tree, by its name, in order."""
    found = (
        MerkleTree.select(MerkleTree.name, MerkleTree.size, MerkleTree.edge)
        .order_by(MerkleTree.name)
        .tuples()
        .execute(database)
    )
    return {name: _edge(size, stored_bytes(edge)) for name, size, edge in found}


def nodes_of(database: Database, tree: str) -> NodeOf:
    """The nodes of a tree as a proof asks for them."""

    def node(level: int, index: int) -> bytes:
        kept = level - level % STRIDE
        first, count = index << (level - kept), 1 << (level - kept)
        hashes = kept_hashes(database, tree, kept, first, count)
        while len(hashes) > 1:
            hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
        return hashes[0]

    return node


def kept_hashes(database: Database, tree: str, level: int, first: int, count: int) -> list[bytes]:
    """The hashes that are stored of some nodes of a level, in order; level 0 are the leaves."""
    table = f"node WHERE level = {level} AND" if level else "leaf WHERE"
    sql = f"SELECT hash FROM {table} tree = {{0}} AND number >= {{0}} AND number < {{0}} ORDER BY number"
    found = database.execute_sql(sql.format(database.param), (tree, first, first + count)).fetchall()
    return [stored_bytes(one) for (one,) in found]


def inclusion_proof(database: Database, tree: str, number: int, size: int) -> list[bytes]:
    """The proof that a leaf is in the tree of `size` leaves."""
    return inclusion(nodes_of(database, tree), number, size)


def consistency_proof(database: Database, tree: str, old: int, new: int) -> list[bytes]:
    """The proof that the tree of `new` leaves begins with that of `old`."""
    return consistency(nodes_of(database, tree), old, new)
