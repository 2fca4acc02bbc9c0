"""Where a local cluster's nodes listen."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog.errors import InvalidInput
from raftlog.local.cluster import LocalCluster
from raftlog.local.layout import (
    BLOCK_PORTS,
    Dealer,
    find_base_port,
    lay_out,
    one_more,
    ports,
    ports_are_free,
)


def test_addresses_are_laid_out(tmp_path):
    """Ports go up from the base: gRPC, HTTP 100 above, MySQL 200 above."""
    base = find_base_port(2)
    made = LocalCluster.create(tmp_path, nodes=2, base_port=base)
    assert [node.id for node in made.nodes] == ["n1", "n2"]
    second = made.nodes[1]
    assert second.address == f"127.0.0.1:{base + 1}"
    assert second.http == f"127.0.0.1:{base + 101}"
    assert second.mysql == f"127.0.0.1:{base + 201}"
    assert made.endpoints == f"127.0.0.1:{base},127.0.0.1:{base + 1}"


def test_a_taken_port_is_refused(tmp_path):
    """A port in use is named before anything is started."""
    base = find_base_port(1)
    # As a server would: connections of an earlier one on this port may linger (TIME_WAIT).
    with socket.create_server(("127.0.0.1", base + 100)):
        assert not ports_are_free(base, 1)
        with pytest.raises(InvalidInput, match=f"port {base + 100} is in use"):
            LocalCluster.create(tmp_path, nodes=1, base_port=base)


def test_processes_that_ask_at_once_get_different_ports():
    """A block of ports is dealt by one process, and no two of its clusters meet."""
    one, two, three = nobodys_blocks(3)
    first, second = Dealer([one, two, three]), Dealer([one, two])
    bases = [first.deal(10) for _ in range(10)]
    taken = {port for base in bases for port in ports(base, 10)}
    assert taken == set(range(one, two))
    assert second.deal(1) == two
    assert first.deal(1) == three
    assert first.deal(100) is None


def nobodys_blocks(count: int) -> list[int]:
    """Return where blocks begin that nobody else has, for they are no ports."""
    start = secrets.randbelow(1 << 40) + (1 << 16)
    return [start + number * BLOCK_PORTS for number in range(count)]


def test_a_large_cluster_meets_no_other():
    """More than ten nodes take more than one step, and a new block where the rest is too small."""
    one, two = nobodys_blocks(2)
    dealer = Dealer([one, two])
    sizes = (25, 1, 11, 10, 60)
    bases = [dealer.deal(nodes) for nodes in sizes]
    assert bases == [one, one + 30, one + 40, one + 60, two]
    taken = [port for base, nodes in zip(bases, sizes, strict=True) for port in ports(base, nodes)]
    assert len(set(taken)) == len(taken)
    with pytest.raises(InvalidInput, match="would meet"):
        find_base_port(101)


def test_threads_that_ask_at_once_get_different_ports():
    """No base port is dealt twice, and none of them fails, however they meet."""
    threads = 8
    together = threading.Barrier(threads)
    dealer = Dealer(slowly(nobodys_blocks(threads)))

    def ask(_number: int) -> list[int | None]:
        together.wait(20)
        return [dealer.deal(1) for _ in range(10)]

    with ThreadPoolExecutor(threads) as pool:
        bases = [base for found in pool.map(ask, range(threads)) for base in found]
    assert len(set(bases)) == len(bases)
    assert None not in bases


def slowly(blocks: list[int]) -> Iterator[int]:
    """Yield blocks, and let another thread run before each."""
    for block in blocks:
        threading.Event().wait(0.001)
        yield block


def test_a_cluster_that_grows_keeps_off_the_next_one_s_ports(tmp_path):
    """Its eleventh node stands elsewhere, where the next ten ports are dealt to another."""
    base, others = find_base_port(10), find_base_port(1)
    nodes = lay_out(tmp_path, 10, base)
    assert one_more(tmp_path, nodes, 11).address != f"127.0.0.1:{others}"
    assert one_more(tmp_path, nodes[:9], 10).address == f"127.0.0.1:{base + 9}"


def test_ports_are_not_found_twice():
    """The ports of a cluster that is stopped are not another one's."""
    bases = [find_base_port(3) for _ in range(30)]
    taken = [port for base in bases for port in ports(base, 3)]
    assert len(set(taken)) == len(taken)
