"""The README's examples run as written, but for the ports, which must be free ones."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from raftlog.client.client import connect
from raftlog.local import LocalCluster, find_base_port
from tests.test_docs import TOP, fences, shell_lines

README = TOP / "README.md"
DOCUMENTED_BASE_PORT = 7101


def with_ports(text: str, base_port: int) -> str:
    """Return the text with the documented ports replaced by a local cluster's."""
    return re.sub(
        r"127\.0\.0\.1:(71\d\d)",
        lambda found: f"127.0.0.1:{int(found[1]) - DOCUMENTED_BASE_PORT + base_port}",
        text,
    )


def base_port_of(cluster: LocalCluster) -> int:
    """Return the port of a cluster's first node."""
    return int(cluster.nodes[0].address.rpartition(":")[2])


def tour(place: pathlib.Path) -> list[str]:
    """Return the page's commands from "Five minutes" on, its Python saved and run where it stands.

    What is left out: making the package, grpcurl, which few have, and containers.
    """
    wanted = ("raftlog", "export", "seq", "kill")
    lines: list[str] = []
    for body in fences(README, "console", "python"):
        typed = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
        lines += [line for line in typed if line.startswith(wanted)]
        if not typed:
            (place / "example.py").write_text(body)
            lines.append("python example.py")
    return lines


def test_the_tour(tmp_path: pathlib.Path) -> None:
    """Commands and the Python example run one after another, as written, and none of them fails."""
    base_port = find_base_port(3)
    lines = tour(tmp_path)
    assert len(lines) > 13
    python = lines.index("python example.py")
    (tmp_path / "example.py").write_text(
        with_ports((tmp_path / "example.py").read_text(), base_port)
    )
    script = "set -e -o pipefail\n" + "\n".join(
        f"echo {shlex.quote(f'$ {line}')}\n{line}" for line in lines
    )
    environment = os.environ | {
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAFTLOG_LOCAL_START_BASE_PORT": str(base_port),
    }
    try:
        done = subprocess.run(
            ["bash", "-c", with_ports(script, base_port)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=100,
            check=False,
        )
    finally:
        if (tmp_path / "cluster").exists():
            LocalCluster.open(tmp_path / "cluster").stop()
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    kill = next(line for line in lines if line.startswith("kill"))
    assert "\n2000\n" in said[said.index(kill) :], "the last line of both halves is there"
    example = said[said.index("$ python example.py") : said.index(f"$ {lines[python + 1]}")]
    first, second, third = example.splitlines()[1:]
    number = re.fullmatch(r"transaction (\d+), GTID 0-1-\1", first)
    assert number is not None
    assert second == f"{number[1]} orders b'order 17 paid'"
    assert third == "swapped"


async def test_grpcurl_line(cluster: LocalCluster) -> None:
    """What the grpcurl line sends is accepted: found by reflection, written as JSON, appended."""
    (line,) = (line for line in shell_lines(README) if line.startswith("grpcurl"))
    program, *words = shlex.split(line)
    assert program == "grpcurl"
    assert "-plaintext" in words
    body, method = words[words.index("-d") + 1], words[-1]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", words[-2])
    leader = cluster.node(cluster.wait_leader())

    service_name, _, method_name = method.partition("/")
    with grpc.insecure_channel(leader.address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        descriptor = pool.FindServiceByName(service_name).FindMethodByName(method_name)
        request = message_factory.GetMessageClass(descriptor.input_type)()
        reply_class = message_factory.GetMessageClass(descriptor.output_type)
        json_format.Parse(body, request)
        call = channel.unary_unary(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply_class.FromString,
        )
        receipt = json.loads(json_format.MessageToJson(call(request, timeout=10)))
    async with connect(cluster.endpoints) as client:
        transaction = await client.log.get(int(receipt["sequence"]), member=leader.id)
    assert transaction.payload == b"hello"
    assert transaction.stream == json.loads(body)["stream"]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_demo_keeps_its_promise(tmp_path: pathlib.Path) -> None:
    """`raftlog demo` kills leaders under load and finds nothing lost and nothing twice."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "raftlog.cli.main", "-o", "json", "demo"),
            *("--seconds", "8", "--dir", str(tmp_path / "demo")),
        ],
        capture_output=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["acknowledged"] > 0
    kinds = sorted(failover["kind"] for failover in report["failovers"])
    assert kinds == ["kill -9", "kill -9", "transfer"]
