"""States that differ by the nodes' names alone are one state.

Nothing in the core depends on a name but for order, so a state is kept under the least of its
renamings. Nodes are first put in order by their shape, which is what one sees of a node without
knowing names; only nodes of equal shape are then tried in every order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from raftlog.core.messages import Message
from raftlog.sim.exhaustive.nodes import Fingerprint, TinyNode
from raftlog.types import NodeId

CHUNK_BITS = 16
CHUNK = (1 << CHUNK_BITS) - 1
Order = tuple[int, ...]
"""Positions in the order in which they take the names."""


class Symmetry:
    """Renames states. Values and messages are known by the numbers the search gave them."""

    def __init__(
        self,
        names: Sequence[NodeId],
        nodes: Sequence[TinyNode],
        messages: Sequence[tuple[NodeId, NodeId, Message]],
    ) -> None:
        self._names = list(names)
        self._nodes = nodes
        self._messages = messages
        self._orders: dict[Order, int] = {
            order: number
            for number, order in enumerate(itertools.permutations(range(len(self._names))))
        }
        self._renamings: list[Mapping[NodeId | None, NodeId]] = [
            self._renaming(order) for order in self._orders
        ]
        self._ids: dict[Fingerprint, int] = {}
        self._message_ids: dict[tuple[NodeId, NodeId, Message], int] = {}
        self._shapes: dict[int, int] = {}
        self._renamed: dict[tuple[int, int], int] = {}
        self._chunks: dict[tuple[int, int, int], int] = {}

    def _renaming(self, order: Order) -> dict[NodeId | None, NodeId]:
        return {
            self._names[position]: name for position, name in zip(order, self._names, strict=True)
        }

    def key(self, values: tuple[int, ...], sent: int) -> tuple[tuple[int, ...], int]:
        """Return what is the same for all states that differ by names alone."""
        return min(self._keys(values, sent))

    def _keys(self, values: tuple[int, ...], sent: int) -> Iterator[tuple[tuple[int, ...], int]]:
        shapes = [self._shape(value) for value in values]
        positions = sorted(range(len(values)), key=shapes.__getitem__)
        groups = [list(group) for _, group in itertools.groupby(positions, shapes.__getitem__)]
        for choice in itertools.product(*(itertools.permutations(group) for group in groups)):
            order = tuple(itertools.chain.from_iterable(choice))
            number = self._orders[order]
            renamed = tuple([self._value(number, values[position]) for position in order])
            yield renamed, self._mask(number, sent)

    def _shape(self, value: int) -> int:
        known = self._shapes.get(value)
        if known is None:
            node = self._nodes[value]
            names: dict[NodeId | None, NodeId] = dict.fromkeys(self._names, NodeId("other"))
            names[node.node_id] = NodeId("self")
            shape = node.fingerprint(names)
            known = self._shapes[value] = self._number(shape)
        return known

    def _value(self, order: int, value: int) -> int:
        known = self._renamed.get((order, value))
        if known is None:
            renamed = self._nodes[value].fingerprint(self._renamings[order])
            known = self._renamed[order, value] = self._number(renamed)
        return known

    def _number(self, fingerprint: Fingerprint) -> int:
        return self._ids.setdefault(fingerprint, len(self._ids))

    def _mask(self, order: int, sent: int) -> int:
        found, position = 0, 0
        while sent:
            bits = sent & CHUNK
            if bits:
                key = (order, position, bits)
                known = self._chunks.get(key)
                if known is None:
                    known = self._chunks[key] = self._rename_chunk(*key)
                found |= known
            sent >>= CHUNK_BITS
            position += CHUNK_BITS
        return found

    def _rename_chunk(self, order: int, position: int, bits: int) -> int:
        renaming = self._renamings[order]
        found = 0
        for offset in range(CHUNK_BITS):
            if bits >> offset & 1:
                source, target, message = self._messages[position + offset]
                key = (renaming[source], renaming[target], message)
                found |= 1 << self._message_ids.setdefault(key, len(self._message_ids))
        return found
