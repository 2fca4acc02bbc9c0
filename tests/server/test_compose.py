"""The composition root: what a directory is, what may be opened, and that a node comes up."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import re
import socket
import sys

import aiohttp
import pytest

import raftlog
from raftlog.config.load import load
from raftlog.config.schema import TlsSection
from raftlog.errors import ConfigInvalid, SafetyRefused
from raftlog.machines.kv import KvMachine
from raftlog.rpc.access import AUDIT_LOGGER
from raftlog.security.tls import create_certificates
from raftlog.server import compose as module
from raftlog.server.compose import compose, tune_interpreter
from raftlog.server.directory import open_storage, storage_settings
from raftlog.server.preflight import check_exposure, node_settings, openness
from raftlog.storage.lmdb import LmdbStorage
from raftlog.types import ClientRole


@pytest.mark.parametrize("flag", ["listen", "http"])
@pytest.mark.parametrize("address", ["0.0.0.0:7101", "[::]:7101", "db1.example.org:7101"])
def test_an_open_port_needs_tls_or_a_word(settings, flag, address):
    """A non-loopback address is refused without TLS, and allowed with --insecure or TLS."""
    opened = dataclasses.replace(settings, **{flag: address})
    with pytest.raises(SafetyRefused, match=f"--{flag}: .*--insecure"):
        check_exposure(opened)
    check_exposure(dataclasses.replace(opened, insecure=True))
    tls = dataclasses.replace(settings.tls, cacert="a", cert="b", key="c")
    check_exposure(dataclasses.replace(opened, tls=tls))


@pytest.mark.parametrize("address", ["127.0.0.1:7101", "localhost:7101", "[::1]:7101"])
def test_loopback_is_open_to_this_machine_only(settings, address):
    """Loopback needs neither."""
    check_exposure(dataclasses.replace(settings, listen=address))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"node_id": ""}, "node_id is needed: --node-id, RAFTLOG_NODE_ID"),
        ({"data_dir": ""}, "data_dir is needed"),
        ({"listen": ""}, "listen is needed"),
        ({"machine": "kw"}, "no machine is called 'kw'"),
        ({"tls": TlsSection(roles=True)}, "tls.roles needs tls.cacert, tls.cert, tls.key"),
    ],
)
async def test_what_is_missing_or_wrong_is_said(settings, change, why):
    """A node that cannot start says why, before it makes a directory."""
    with pytest.raises(ConfigInvalid, match=why):
        await compose(dataclasses.replace(settings, **change))
    assert not LmdbStorage.exists(settings.data_dir)


@pytest.mark.parametrize("flag", ["listen", "http"])
async def test_a_taken_address_is_said_and_frees_the_directory(settings, flag):
    """A port that is in use is an error, after which the node can be started elsewhere."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(ConfigInvalid, match=f"cannot listen on {taken}"):
            await compose(dataclasses.replace(settings, **{flag: taken}))
    running = await compose(settings)
    await running.stop(hand_over=False)


async def test_a_node_comes_up_serves_and_stops(settings):
    """One composed node takes writes over gRPC, answers over HTTP, and stops cleanly."""
    running = await compose(settings)
    try:
        async with raftlog.connect(settings.listen, timeout=20) as client:
            receipt = await client.log.append(b"payload")
            assert (await client.log.get(receipt.sequence)).payload == b"payload"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{settings.http}/leader-check") as reply:
                assert reply.status == 200
            async with session.get(f"http://{settings.http}/metrics") as reply:
                text = await reply.text()
        assert "raftlog_is_leader 1.0" in text
        assert "raftlog_transactions_committed_total 1.0" in text
        assert "raftlog_append_seconds_count 1.0" in text
        assert 'raftlog_rpc_seconds_count{method="Log/Get"} 1.0' in text
        assert 'raftlog_rpc_seconds_count{method="Kv/Execute"} 0.0' in text
        assert "raftlog_machine_leases 0.0" in text
    finally:
        await running.stop(hand_over=True)
    open_storage(settings, KvMachine()).close()


async def test_a_node_with_certificates(settings, tmp_path, capfd):
    """With TLS a client needs a certificate of the same authority; that no role counts is said."""
    files = create_certificates(tmp_path / "certs", ["n1"])
    own, client_files = files["n1"], files["client"]
    tls = dataclasses.replace(
        settings.tls, cacert=str(own.cacert), cert=str(own.cert), key=str(own.key)
    )
    running = await compose(dataclasses.replace(settings, tls=tls))
    try:
        credentials = {
            "cacert": client_files.cacert, "cert": client_files.cert, "key": client_files.key,
        }  # fmt: skip
        async with raftlog.connect(settings.listen, timeout=20, **credentials) as client:
            assert (await client.log.append(b"secret")).sequence == 1
        async with raftlog.connect(settings.listen, timeout=1) as client:
            with pytest.raises(raftlog.RaftLogError):
                await client.log.append(b"plain")
    finally:
        await running.stop(hand_over=False)
    assert capfd.readouterr().err.count("anyone_operates") == 1


async def test_a_node_asks_for_roles(settings, tmp_path, capfd):
    """Each client may do what its certificate says, at once and definitely; the audit is written.

    Also where the log's level leaves out everything that is no error.
    """
    own = create_certificates(tmp_path, ["n1"], clients=["operator"])["n1"]
    create_certificates(tmp_path, [], clients=["reader"], role=ClientRole.READER)
    create_certificates(tmp_path, [], clients=["nothing"], role=None)
    tls = dataclasses.replace(
        settings.tls, cacert=str(own.cacert), cert=str(own.cert), key=str(own.key), roles=True
    )
    quiet = dataclasses.replace(settings.logging, level="error", format="json")
    running = await compose(dataclasses.replace(settings, tls=tls, logging=quiet))

    def connected(name):
        files = {"cert": tmp_path / f"{name}.crt", "key": tmp_path / f"{name}.key"}
        return raftlog.connect(settings.listen, timeout=20, cacert=own.cacert, **files)

    try:
        async with connected("operator") as client:
            sequence = (await client.log.append(b"by an operator")).sequence
            await client.cluster.step_down()
        async with connected("reader") as client, asyncio.timeout(5):
            assert (await client.log.get(sequence)).payload == b"by an operator"
            for write in (client.log.append(b"x"), client.kv.put(b"k", b"v")):
                with pytest.raises(raftlog.Unauthorized, match="needs the role writer") as refusal:
                    await write
                assert refusal.value.definite
            with pytest.raises(raftlog.Unauthorized, match="needs the role operator"):
                await client.cluster.step_down()
        async with connected("nothing") as client, asyncio.timeout(5):
            for read in (client.cluster.status(), client.log.info(), client.kv.get(b"k")):
                with pytest.raises(raftlog.Unauthorized, match="needs the role reader"):
                    await read
    finally:
        await running.stop(hand_over=False)
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    audit = [(line["who"], line["outcome"]) for line in told if line.get("logger") == AUDIT_LOGGER]
    assert audit == [
        ("raftlog://role/operator, CN=operator", "ok"),
        ("raftlog://role/reader, CN=reader", "unauthorized"),
    ]
    assert not any(line["event"] == "anyone_operates" for line in told)


@pytest.mark.parametrize(
    ("listen", "insecure", "secured", "roles", "warned"),
    [
        ("127.0.0.1:1", False, False, False, None),
        ("0.0.0.0:1", True, False, False, "0.0.0.0:1 .* open without TLS"),
        ("127.0.0.1:1", False, True, False, "set tls.roles"),
        ("127.0.0.1:1", False, True, True, None),
    ],
)
def test_who_may_operate_is_a_warning(settings, listen, insecure, secured, roles, warned):
    """Wherever others than this machine's users may operate without a role, and nowhere else."""
    names = ("cacert", "cert", "key") if secured else ()
    tls = dataclasses.replace(settings.tls, **dict.fromkeys(names, "x"), roles=roles)
    found = openness(dataclasses.replace(settings, listen=listen, insecure=insecure, tls=tls))
    assert (found is None) is (warned is None)
    assert warned is None or re.search(warned, found)


def test_every_setting_reaches_its_part():
    """What is set in the sections is what the node and the storage are given."""
    settings = load(
        assignments=[
            "raft.heartbeat_seconds=0.05", "raft.election_timeout_seconds=0.3",
            "raft.inflight_count_max=7", "limits.session_groups_max=5",
            "limits.inbox_groups_max=50", "limits.transaction_bytes_max=1 MiB",
            "retention.snapshot_log_bytes=2 MiB", "retention.log_bytes_max=3 MiB",
            "retention.log_seconds_max=1 h", "retention.cache_bytes_max=4 MiB",
            "disk.free_fraction_min=0.01", "disk.free_bytes_min=5 MiB",
        ]
    ).settings  # fmt: skip
    node, storage = node_settings(settings), storage_settings(settings)
    assert (node.core.heartbeat_seconds, node.core.election_timeout_seconds) == (0.05, 0.3)
    assert node.core.inflight_count_max == 7
    assert (node.session_groups_max, node.inbox_groups_max, node.transaction_bytes_max) == (
        5,
        50,
        1 << 20,
    )
    assert (node.snapshot_log_bytes, node.log_bytes_max) == (2 << 20, 3 << 20)
    assert node.log_seconds_max == 3600
    assert storage.cache_bytes_max == node.core.cache_bytes_max == 4 << 20
    assert (storage.free_fraction_min, storage.free_bytes_min) == (0.01, 5 << 20)


def test_the_interpreter_is_tuned():
    """Collections become rare and threads give way soon."""
    before, interval = gc.get_threshold(), sys.getswitchinterval()
    frozen = gc.get_freeze_count()
    try:
        tune_interpreter()
        assert gc.get_threshold() == module.GC_THRESHOLDS
        assert sys.getswitchinterval() == pytest.approx(module.SWITCH_INTERVAL_SECONDS)
        assert gc.get_freeze_count() > frozen
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(interval)
