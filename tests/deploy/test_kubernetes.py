"""The Kubernetes manifest: its schema holds, its parts fit one another, and a node takes it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import kubernetes_validate
import pytest
import yaml

from raftlog.cli.main import root
from raftlog.config.load import load
from raftlog.security.tls import create_certificates
from raftlog.server.main import STOP_SECONDS
from raftlog.wire.channel import channel_options, open_channel
from raftlog.wire.pb import admin_pb2_grpc, types_pb2
from tests.rpc.doubles import Cluster, FakeNode
from tests.security.certificates import material
from tests.test_docs import resolve

TOP = pathlib.Path(__file__).resolve().parents[2]
MANIFEST = TOP / "deploy" / "kubernetes" / "raftlog.yaml"
OLDEST = "1.27"
NAMESPACE = "default"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """Every document of the manifest."""
    return list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def stateful(documents: list[Document]) -> Document:
    """The StatefulSet's spec."""
    (found,) = (each["spec"] for each in documents if each["kind"] == "StatefulSet")
    return found


@pytest.fixture(scope="module")
def container(stateful: Document) -> Document:
    """The only container."""
    (found,) = stateful["template"]["spec"]["containers"]
    return found


def environment(container: Document, ordinal: int) -> dict[str, str]:
    """The variables that the pod of that ordinal gets, references filled in as the kubelet does."""
    fields = {"metadata.name": f"raftlog-{ordinal}", "metadata.namespace": NAMESPACE}
    found: dict[str, str] = {}
    for each in container["env"]:
        source = each.get("valueFrom", {})
        if "fieldRef" in source:
            found[each["name"]] = fields[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            found[each["name"]] = "from a secret"
        else:
            found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda m: found[m[1]], each["value"])
    return found


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_the_schemas_hold(documents: list[Document], version: str) -> None:
    """By the API's own schemas, of the oldest version that is named and of the newest, strictly."""
    assert [each["kind"] for each in documents] == [
        "Service", "Service", "PodDisruptionBudget", "StatefulSet",
    ]  # fmt: skip
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_a_wrong_key_would_be_noticed(documents: list[Document]) -> None:
    """The schemas are strict: what Kubernetes would drop without a word is refused."""
    wrong = {**documents[-1], "spec": {**documents[-1]["spec"], "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_the_parts_name_one_another(documents: list[Document], stateful: Document) -> None:
    """Selectors find the pods, the pods are below the headless service, ports have their names."""
    labels = stateful["template"]["metadata"]["labels"]
    selectors = [stateful["selector"]["matchLabels"]]
    services = [each for each in documents if each["kind"] == "Service"]
    selectors += [each["spec"]["selector"] for each in services]
    (budget,) = (each["spec"] for each in documents if each["kind"] == "PodDisruptionBudget")
    selectors.append(budget["selector"]["matchLabels"])
    assert all(each.items() <= labels.items() for each in selectors)
    assert budget["maxUnavailable"] == 1
    (headless,) = (each for each in services if each["spec"].get("clusterIP") == "None")
    assert headless["metadata"]["name"] == stateful["serviceName"]
    # A first start needs each member once: none becomes ready before it has found the others.
    assert headless["spec"]["publishNotReadyAddresses"] is True
    assert stateful["podManagementPolicy"] == "Parallel"
    pod = stateful["template"]["spec"]
    volumes = {each["name"] for each in pod["volumes"]}
    volumes |= {each["metadata"]["name"] for each in stateful["volumeClaimTemplates"]}
    assert {each["name"] for each in pod["containers"][0]["volumeMounts"]} == volumes


def test_each_founder_knows_itself_and_the_others(stateful: Document, container: Document) -> None:
    """What the first pods are told is a node's legal settings, and the addresses agree."""
    names = [f"raftlog-{ordinal}" for ordinal in range(stateful["replicas"])]
    for ordinal, name in enumerate(names):
        settings = load(environment=environment(container, ordinal)).settings
        assert settings.node_id == name
        assert [each for each, _ in settings.initial_cluster] == names
        assert dict(settings.initial_cluster)[name] == settings.advertise
        assert settings.tls.roles
        assert (settings.listen, settings.http) == ("0.0.0.0:7101", "0.0.0.0:7201")
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert ports == {"grpc": 7101, "http": 7201}
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert settings.data_dir.startswith(f"{mounts['state']}/")
        for variable in ("RAFTLOG_CACERT", "RAFTLOG_CERT", "RAFTLOG_KEY"):
            file = environment(container, ordinal)[variable]
            assert file.startswith(f"{mounts['certificates']}/")


@pytest.mark.parametrize(("ordinal", "joins"), [(0, False), (2, False), (3, True), (12, True)])
def test_a_pod_beyond_the_founders_joins(
    container: Document, tmp_path: pathlib.Path, ordinal: int, joins: bool
) -> None:
    """The start script founds with the first three and joins with the others."""
    program = tmp_path / "raftlog"
    code = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(0o755)
    (script,) = container["args"]
    told = subprocess.run(
        [*container["command"], script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment(container, ordinal)},
        capture_output=True,
        check=True,
    )
    arguments, variables = json.loads(told.stdout)
    assert arguments == ["serve"]
    assert ("RAFTLOG_JOIN" in variables) == joins
    assert ("RAFTLOG_INITIAL_CLUSTER" in variables) != joins
    assert ("RAFTLOG_BOOTSTRAP_TOKEN" in variables) != joins
    if joins:
        founder = environment(container, 0)["RAFTLOG_ADVERTISE"]
        assert (variables["RAFTLOG_JOIN"], variables["RAFTLOG_PROMOTE"]) == (founder, "true")


def test_probes_ask_what_they_mean(container: Document) -> None:
    """Alive decides about restarts and ready about clients, never the other way round."""
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in paths} == {"http"}


def test_there_is_time_to_stop(stateful: Document, container: Document) -> None:
    """The drain and the clean stop fit into the grace period, and the drain's command exists."""
    command = container["lifecycle"]["preStop"]["exec"]["command"][-1]
    found = re.search(r"--timeout (\d+)s", command)
    assert found is not None
    grace = stateful["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(found[1]) + STOP_SECONDS < grace
    words = command.split(" || ")[0].split()
    assert words[:3] == ["raftlog", "node", "drain"]
    if "node" in root.commands:
        assert resolve(words[1:]).name == "drain"


def test_a_pod_may_do_no_more_than_it_must(stateful: Document, container: Document) -> None:
    """No root, no writable image, no capability, no token, one member on each host."""
    pod = stateful["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    anti = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [each["topologyKey"] for each in anti] == ["kubernetes.io/hostname"]
    image = (TOP / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {pod['securityContext']['runAsUser']}:" in image


async def test_the_documented_certificates_are_for_the_pods_names(
    container: Document, tmp_path: pathlib.Path
) -> None:
    """A node with a certificate as docs/deploying.md makes it is reached by its pod's name."""
    page = (TOP / "docs" / "deploying.md").read_text(encoding="utf-8")
    hosts = re.findall(r"--host '?([\w.*-]+)'?", page)
    assert hosts
    create_certificates(tmp_path, ["raftlog-0"], hosts=hosts)
    cluster = Cluster()
    peer = await cluster.start("raftlog-0", node=FakeNode(), tls=material(tmp_path, "raftlog-0"))
    name = environment(container, 0)["RAFTLOG_ADVERTISE"].rpartition(":")[0]
    try:
        for called in (name, f"raftlog.{NAMESPACE}.svc", "localhost"):
            options = (*channel_options(1 << 20), ("grpc.ssl_target_name_override", called))
            channel = open_channel(peer.address, material(tmp_path, "client"), options)
            stub = admin_pb2_grpc.AdminStub(channel)
            try:
                reply = await stub.Leader(types_pb2.Empty(), timeout=10)
            finally:
                await channel.close()
            assert reply.served_by == "n1"
    finally:
        await cluster.stop()
