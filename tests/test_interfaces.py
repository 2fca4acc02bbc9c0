"""Adapters keep to the ports: every method a port names is there, with the same parameters."""

from __future__ import annotations

import inspect

import pytest

from raftlog.interfaces.environment import Clock, Observer, Switches
from raftlog.interfaces.machine import ApplyContext, ReadState, RoleContext, Rows, State
from raftlog.interfaces.node import NodePort
from raftlog.interfaces.storage import Storage
from raftlog.interfaces.transport import PeerEvents, Transport
from raftlog.node.leadership import Leading
from raftlog.node.node import Node
from raftlog.node.overlay import StateView
from raftlog.node.workbench import ApplyState, RowRecorder
from raftlog.rpc.peer import GrpcTransport
from raftlog.server.clock import SystemClock
from raftlog.server.switches import FileSwitches
from raftlog.storage.lmdb import LmdbStorage
from raftlog.storage.memory import MemoryStorage
from raftlog.telemetry.metrics import PrometheusObserver

PAIRS = [
    (Clock, SystemClock),
    (Observer, PrometheusObserver),
    (Switches, FileSwitches),
    (Storage, LmdbStorage),
    (Storage, MemoryStorage),
    (Transport, GrpcTransport),
    (PeerEvents, Node),
    (NodePort, Node),
    (ReadState, StateView),
    (State, ApplyState),
    (ApplyContext, ApplyState),
    (RoleContext, Leading),
    (Rows, RowRecorder),
]


def methods(port: type) -> dict[str, inspect.Signature]:
    """Return what a port demands, inherited demands included."""
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(port, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("port", "adapter"), PAIRS, ids=lambda each: each.__name__)
def test_an_adapter_has_what_its_port_names(port: type, adapter: type) -> None:
    """Names, order and kinds of parameters agree, so that every caller of the port fits."""
    assert methods(port)
    for name, wanted in methods(port).items():
        found = inspect.signature(getattr(adapter, name))
        shape = [(p.name.lstrip("_"), p.kind) for p in found.parameters.values()]
        for parameter in wanted.parameters.values():
            assert (parameter.name, parameter.kind) in shape, f"{adapter.__name__}.{name}"
