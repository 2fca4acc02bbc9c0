"""Where a local cluster's nodes listen, and what lies where in its directory."""

from __future__ import annotations

import dataclasses
import math
import random
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from raftlog.errors import InvalidInput, Unavailable

HTTP_PORT_OFFSET = 100
MYSQL_PORT_OFFSET = 200
BASE_PORT_DEFAULT = 7101
BASE_PORT_STEP = 10
BLOCK_PORTS = 300
"""The three ranges of ten base ports, a step apart, fill so many ports and meet nowhere.

A cluster of more than ten nodes takes as many steps as it fills.
"""
BLOCKS = range(10_000, 30_000 - BLOCK_PORTS, BLOCK_PORTS)
"""Where the blocks of ports begin: below the ephemeral ones."""
HOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalNode:
    """One node of a local cluster: its id, its three addresses and its directory.

    `joins`: it was not there when the cluster was founded, and asks to be added.
    """

    id: str
    address: str
    http: str
    mysql: str
    directory: Path
    joins: bool = False

    @property
    def data_dir(self) -> Path:
        """Return its data directory."""
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        """Return the file its output goes to."""
        return self.directory / "log"

    @property
    def pid_file(self) -> Path:
        """Return the file that holds its process id."""
        return self.directory / "pid"


def find_base_port(nodes: int) -> int:
    """Return a base port whose three ranges are free now.

    Processes that ask at the same time get different ones, and so does a process that asks again:
    a member that is stopped finds its ports free when it starts again. Any thread may ask.

    Raises:
        InvalidInput: the ranges of so many nodes would meet.
        Unavailable: nothing is free.
    """
    if nodes > HTTP_PORT_OFFSET:
        raise InvalidInput(
            f"the ports of {nodes} nodes would meet: {HTTP_PORT_OFFSET} are possible"
        )
    while (base := _BASES.deal(nodes)) is not None:
        if ports_are_free(base, nodes):
            return base
    chooser = random.SystemRandom()
    for _ in range(200):
        base = chooser.randrange(BLOCKS.start, BLOCKS.stop, BASE_PORT_STEP)
        if ports_are_free(base, nodes):
            return base
    raise Unavailable("found no free ports on loopback")


class Dealer:
    """Deals base ports from those blocks that no other process has, each once, to any thread."""

    def __init__(self, blocks: Iterable[int]) -> None:
        self._blocks = iter(blocks)
        self._next = self._end = 0
        self._lock = threading.Lock()

    def deal(self, nodes: int) -> int | None:
        """Return a base port for so many nodes, or None where no block is left."""
        room = math.ceil(nodes / BASE_PORT_STEP) * BASE_PORT_STEP
        with self._lock:
            while self._next + room > self._end:
                block = next(filter(_claim, self._blocks), None)
                if block is None:
                    return None
                self._next, self._end = block, block + HTTP_PORT_OFFSET
            base = self._next
            self._next += room
            return base


def _claim(block: int) -> bool:
    """Take a block of ports until this process ends; False if another has it.

    A name that begins with a zero byte is the system's own and goes with its process. Where there
    are none (they are Linux's) nobody has a block.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0raftlog-local-ports-{block}")
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True


_BASES = Dealer(random.SystemRandom().sample(BLOCKS, len(BLOCKS)))


def ports_are_free(base: int, nodes: int) -> bool:
    """Whether a local cluster could take its ports from `base` now."""
    return all(is_free(port) for port in ports(base, nodes))


def ports(base: int, nodes: int) -> Iterator[int]:
    """Yield every port that a cluster of so many nodes takes from `base` on."""
    for offset in (0, HTTP_PORT_OFFSET, MYSQL_PORT_OFFSET):
        yield from range(base + offset, base + offset + nodes)


def lay_out(place: Path, nodes: int, base: int) -> list[LocalNode]:
    """Return the nodes of a new cluster in the directory `place`."""
    return [
        LocalNode(
            id=f"n{number + 1}",
            address=f"{HOST}:{base + number}",
            http=f"{HOST}:{base + HTTP_PORT_OFFSET + number}",
            mysql=f"{HOST}:{base + MYSQL_PORT_OFFSET + number}",
            directory=place / f"n{number + 1}",
        )
        for number in range(nodes)
    ]


def one_more(place: Path, nodes: Sequence[LocalNode], number: int) -> LocalNode:
    """Return the node ``n<number>`` of a cluster that grows, at ports that are free now."""
    taken = {port for node in nodes for port in (node.address, node.http, node.mysql)}
    base = int(nodes[-1].address.rpartition(":")[2]) + 1
    laid = lay_out(place, 1, base)[0]
    is_anothers = base in range(BLOCKS.start, BLOCKS.stop + BLOCK_PORTS, BASE_PORT_STEP)
    is_next_free = ports_are_free(base, 1) and not {laid.address, laid.http, laid.mysql} & taken
    if is_anothers or not is_next_free:
        laid = lay_out(place, 1, find_base_port(1))[0]
    return dataclasses.replace(laid, id=f"n{number}", directory=place / f"n{number}", joins=True)


def is_free(port: int) -> bool:
    """Whether a process could listen there on loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
