"""The stored Merkle trees: one for each subscription, and one with an empty name for leaves of no subscription.

A leaf covers an event or a sealed batch of decisions. Every fourth level of nodes is stored. The nodes of the other
levels are computed from at most eight stored nodes each, so that a proof reads few rows. Leaves are appended in one
order: the writer holds the write lock (SQLite), or the database appends inside COMMIT, under an advisory lock
(PostgreSQL).
"""

from collections import defaultdict
from collections.abc import Iterable

from authz.database import Database
from authz.database.statements import insert_rows, run, select_in
from authz.domain import Values
from authz.models import MerkleLeaf, MerkleNode, MerkleTree
from authz.record.leaves import stored_bytes
from authz.record.merkle import Frontier, ReadNode, consistency, inclusion, node_hash

STRIDE = 4
"""The distance between the levels whose nodes are stored."""

_HASH_BYTES = 32
_STORE_TREE = """INSERT INTO tree (edge, size, name) VALUES ({}, {}, {})
    ON CONFLICT (name) DO UPDATE SET edge = excluded.edge, size = excluded.size"""


def append_leaves(database: Database, noun: str, leaves: Iterable[tuple[str, int, bytes]]) -> None:
    """Append leaves in their order; each is a tree, the id of its row (`noun`: ``event`` or ``seal``), and a hash.

    For SQLite, which has one writer at a time, and for migrations. On PostgreSQL the function `caregrant_grow` of the
    database does the same inside COMMIT.
    """
    by_tree: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for tree, row, leaf in leaves:
        by_tree[tree].append((row, leaf))
    frontiers = _read_frontiers(database, sorted(by_tree))
    leaf_rows: list[Values] = []
    node_rows: list[Values] = []
    for tree, new_leaves in by_tree.items():
        frontier = frontiers.get(tree, Frontier())
        leaf_rows += [(tree, frontier.size + at, row, leaf) for at, (row, leaf) in enumerate(new_leaves)]
        frontier, completed = frontier.append([leaf for _, leaf in new_leaves])
        for level, first, hashes in completed:
            if level % STRIDE == 0:
                node_rows += [(tree, level, first + at, node) for at, node in enumerate(hashes)]
        run(database, _STORE_TREE, b"".join(frontier.nodes), frontier.size, tree)
    insert_rows(database, MerkleLeaf, ("tree", "number", noun, "hash"), leaf_rows)
    insert_rows(database, MerkleNode, ("tree", "level", "number", "hash"), node_rows)


def _read_frontiers(database: Database, names: list[str]) -> dict[str, Frontier]:
    """Return the frontiers of the trees with these names that exist."""
    rows = select_in(database, "SELECT name, size, edge FROM tree WHERE name", names) if names else []
    return {name: _frontier(size, stored_bytes(edge)) for name, size, edge in rows}


def _frontier(size: object, edge: bytes) -> Frontier:
    hashes = tuple(edge[at : at + _HASH_BYTES] for at in range(0, len(edge), _HASH_BYTES))
    return Frontier(size if isinstance(size, int) else 0, hashes)


def trees(database: Database) -> dict[str, Frontier]:
    """Return every tree by its name, in the order of the names."""
    query = MerkleTree.select(MerkleTree.name, MerkleTree.size, MerkleTree.edge).order_by(MerkleTree.name)
    return {name: _frontier(size, stored_bytes(edge)) for name, size, edge in query.tuples().execute(database)}


def node_reader(database: Database, tree: str) -> ReadNode:
    """Return the function with which a proof reads the nodes of a tree."""

    def read_node(level: int, index: int) -> bytes:
        stored_level = level - level % STRIDE
        first, count = index << (level - stored_level), 1 << (level - stored_level)
        hashes = kept_hashes(database, tree, stored_level, first, count)
        while len(hashes) > 1:
            hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
        return hashes[0]

    return read_node


def kept_hashes(database: Database, tree: str, level: int, first: int, count: int) -> list[bytes]:
    """Return the stored hashes of `count` nodes of a level, in order; level 0 is the leaves."""
    table = f"node WHERE level = {level} AND" if level else "leaf WHERE"
    sql = f"SELECT hash FROM {table} tree = {{0}} AND number >= {{0}} AND number < {{0}} ORDER BY number"
    rows = database.execute_sql(sql.format(database.param), (tree, first, first + count)).fetchall()
    return [stored_bytes(stored) for (stored,) in rows]


def inclusion_proof(database: Database, tree: str, number: int, size: int) -> list[bytes]:
    """Return the proof that leaf `number` is in the tree of `size` leaves."""
    return inclusion(node_reader(database, tree), number, size)


def consistency_proof(database: Database, tree: str, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `new` leaves begins with the tree of `old` leaves."""
    return consistency(node_reader(database, tree), old, new)
