"""The mathematics of an RFC 9162 (section 2.1) Merkle tree, as RFC 6962 had it: hashes in, hashes out.

A tree is kept as its `Frontier`: the roots of the complete subtrees that its size splits into. A frontier grows without
the earlier leaves. A node is ``(level, index)``: the root over the leaves from ``index << level`` up to
``(index + 1) << level``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

NodeOf = Callable[[int, int], bytes]
"""The hash of a complete node, by its level and its index."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """A tree of `size` leaves: the roots of its complete subtrees, the largest first."""

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    @property
    def root(self) -> bytes:
        """The root; of no leaves, the hash of nothing."""
        if not self.nodes:
            return sha256().digest()
        root = self.nodes[-1]
        for left in reversed(self.nodes[:-1]):
            root = node_hash(left, root)
        return root

    def append(self, leaves: Sequence[bytes]) -> tuple["Frontier", list[tuple[int, int, list[bytes]]]]:
        """The tree with the hashes of more leaves, and the nodes that became complete: level, first index, hashes."""
        old = dict(zip(_levels(self.size), self.nodes, strict=True))
        completed: list[tuple[int, int, list[bytes]]] = []
        edge: list[bytes] = []
        fresh, level, size = list(leaves), 0, self.size + len(leaves)
        while size >> level:
            if level and fresh:
                completed.append((level, self.size >> level, fresh))
            here = [old[level], *fresh] if level in old else fresh
            if len(here) % 2:
                edge.append(here[-1])
            fresh = [node_hash(here[at], here[at + 1]) for at in range(0, len(here) - 1, 2)]
            level += 1
        return Frontier(size, tuple(reversed(edge))), completed


def _levels(size: int) -> list[int]:
    """The levels of the complete subtrees of so many leaves, the highest first."""
    return [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]


def _over(node_of: NodeOf, start: int, end: int) -> bytes:
    """The root over the leaves from `start` up to `end`, where `start` is a multiple of a power of two not below."""
    nodes = []
    for level in _levels(end - start):
        nodes.append(node_of(level, start >> level))
        start += 1 << level
    return Frontier(0, tuple(nodes)).root


def inclusion(node_of: NodeOf, number: int, size: int) -> list[bytes]:
    """The proof that leaf `number` is in the tree of `size` leaves (RFC 9162, 2.1.3.1)."""
    return [_over(node_of, start, end) for start, end in _inclusion_path(number, 0, size)]


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


def consistency(node_of: NodeOf, old: int, new: int) -> list[bytes]:
    """The proof that the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.1)."""
    if not 0 < old < new:
        return []
    return [_over(node_of, start, end) for start, end in _consistency_path(old, 0, new, whole=True)]


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
    """The largest power of two below a size."""
    return int(1 << (size - 1).bit_length() - 1)
