"""Where a local cluster's nodes listen."""

from __future__ import annotations

import secrets
import socket

import pytest

from raftlog.errors import InvalidInput
from raftlog.local.cluster import LocalCluster
from raftlog.local.layout import BLOCK_PORTS, deal, find_base_port, ports, ports_are_free


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
    start = secrets.randbelow(1 << 40) + (1 << 16)  # no port, and nobody else's block
    one, two, three = (start + number * BLOCK_PORTS for number in range(3))
    first, second = deal([one, two, three]), deal([one, two])
    bases = [next(first) for _ in range(10)]
    taken = {port for base in bases for port in ports(base, 10)}
    assert taken == set(range(one, two))
    assert next(second) == two
    assert next(first) == three


def test_ports_are_not_found_twice():
    """The ports of a cluster that is stopped are not another one's."""
    bases = [find_base_port(3) for _ in range(30)]
    taken = [port for base in bases for port in ports(base, 3)]
    assert len(set(taken)) == len(taken)
