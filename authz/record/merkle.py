"""Merkle trees by RFC 9162, section 2.1 (the same as in RFC 6962): computations on hashes, without storage.

A tree is represented by its `Frontier`: the roots of the complete subtrees into which its size splits. Leaves can be
appended to a frontier without the earlier leaves. A node is ``(level, index)``: the root over the leaves from
``index << level`` up to, but not including, ``(index + 1) << level``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

ReadNode = Callable[[int, int], bytes]
"""Returns the hash of a complete node from its level and its index."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """A tree of `size` leaves: the roots of its complete subtrees, the largest first."""

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    @property
    def root(self) -> bytes:
        """The root hash; without leaves, the hash of the empty string."""
        if not self.nodes:
            return sha256().digest()
        root = self.nodes[-1]
        for left in reversed(self.nodes[:-1]):
            root = node_hash(left, root)
        return root

    def append(self, leaves: Sequence[bytes]) -> tuple["Frontier", list[tuple[int, int, list[bytes]]]]:
        """Return the frontier after more leaf hashes, and the nodes that this completes: level, first index, hashes."""
        old = dict(zip(_levels(self.size), self.nodes, strict=True))
        completed: list[tuple[int, int, list[bytes]]] = []
        nodes: list[bytes] = []
        new, level, size = list(leaves), 0, self.size + len(leaves)
        while size >> level:
            if level and new:
                completed.append((level, self.size >> level, new))
            pending = [old[level], *new] if level in old else new
            if len(pending) % 2:
                nodes.append(pending[-1])
            new = [node_hash(pending[at], pending[at + 1]) for at in range(0, len(pending) - 1, 2)]
            level += 1
        return Frontier(size, tuple(reversed(nodes))), completed


def _levels(size: int) -> list[int]:
    """Return the levels of the complete subtrees of `size` leaves, the highest first."""
    return [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]


def _root_of_range(read_node: ReadNode, start: int, end: int) -> bytes:
    """Return the root over the leaves from `start` up to `end`.

    `start` is a multiple of a power of two that is at least `end - start`.
    """
    nodes = []
    for level in _levels(end - start):
        nodes.append(read_node(level, start >> level))
        start += 1 << level
    return Frontier(0, tuple(nodes)).root


def inclusion(read_node: ReadNode, number: int, size: int) -> list[bytes]:
    """Return the proof that leaf `number` is in the tree of `size` leaves (RFC 9162, 2.1.3.1)."""
    return [_root_of_range(read_node, start, end) for start, end in _inclusion_path(number, 0, size)]


def _inclusion_path(number: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    if end - start <= 1:
        return
    middle = start + _split(end - start)
    if number < middle:
        yield from _inclusion_path(number, start, middle)
        yield middle, end
    else:
        yield from _inclusion_path(number, middle, end)
        yield start, middle


def consistency(read_node: ReadNode, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162, 2.1.4.1)."""
    if not 0 < old < new:
        return []
    return [_root_of_range(read_node, start, end) for start, end in _consistency_path(old, 0, new, whole=True)]


def _consistency_path(old: int, start: int, end: int, *, whole: bool) -> Iterator[tuple[int, int]]:
    if old == end:
        if not whole:
            yield start, end
        return
    middle = start + _split(end - start)
    if old <= middle:
        yield from _consistency_path(old, start, middle, whole=whole)
        yield middle, end
    else:
        yield from _consistency_path(old, middle, end, whole=False)
        yield start, middle


def _split(size: int) -> int:
    """Return the largest power of two below a size."""
    return int(1 << (size - 1).bit_length() - 1)
