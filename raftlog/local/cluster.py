"""A cluster of real processes on this machine, and everything one does to them.

Each node is ``raftlog serve`` in a process of its own, in the background, on loopback. Everything
that must outlive the command that started it lies in one directory::

    D/cluster.json      the nodes, their ports and settings, and the bootstrap token
    D/<id>/data         the node's data directory
    D/<id>/log          what it wrote to standard output and error
    D/<id>/pid          its process, while it runs
    D/certs             where it is secured by TLS, the nodes' and the client's certificates

Calls block; use a thread where an event loop must not wait.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from raftlog import files
from raftlog.config.load import load
from raftlog.errors import InvalidInput, NotFound, RaftLogError, Unavailable
from raftlog.local.layout import (
    BASE_PORT_DEFAULT,
    MYSQL_PORT_OFFSET,
    LocalNode,
    find_base_port,
    is_free,
    lay_out,
    one_more,
    ports,
)
from raftlog.local.processes import Processes, last_words

T = TypeVar("T")

NODES_MAX = 99
START_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.03
PROBE_SECONDS = 1.0


class NodeFailed(RaftLogError):
    """A node's process ended, or did not come up; the message ends with its last words."""

    code = "node_failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One line of `local status`. `mariadb` is None: nothing speaks its protocol yet."""

    id: str
    address: str
    http: str
    mysql: str
    mariadb: str | None
    pid: int | None
    running: bool
    data_dir: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What a node's `/readyz` says of itself."""

    ready: bool
    role: str
    term: int
    leader: str | None
    reasons: tuple[str, ...]


class LocalCluster:
    """The nodes of one directory. Any number of objects may speak of the same directory."""

    def __init__(self, directory: Path, nodes: Sequence[LocalNode], token: str) -> None:
        self.directory = directory
        self.nodes = tuple(nodes)
        self.token = token
        self.assignments: tuple[str, ...] = ()
        self.is_secured = False
        self._processes = Processes()

    # ------------------------------------------------------------ making and finding

    @classmethod
    def create(
        cls,
        directory: str | Path,
        *,
        nodes: int = 3,
        base_port: int = BASE_PORT_DEFAULT,
        assignments: Iterable[str] = (),
        is_secured: bool = False,
    ) -> LocalCluster:
        """Lay out a new cluster, or open the one that is there. `base_port` 0 picks free ports.

        A secured one needs certificates for its nodes and for ``client`` in the directory `certs`
        before it starts (`security.tls.create_certificates`).

        Raises:
            InvalidInput: a wrong number of nodes, or a port is taken.
            ConfigInvalid: an assignment names no setting, or gives it a wrong value.
        """
        place = Path(directory).absolute()
        if (place / "cluster.json").exists():
            return cls.open(place).assign(tuple(assignments))
        if not 1 <= nodes <= NODES_MAX:
            raise InvalidInput(f"a local cluster has 1 to {NODES_MAX} nodes, not {nodes}")
        base = base_port or find_base_port(nodes)
        if base + MYSQL_PORT_OFFSET + nodes > 65536:
            raise InvalidInput(f"base port {base} leaves no room for {nodes} nodes below 65536")
        for port in ports(base, nodes):
            if not is_free(port):
                raise InvalidInput(
                    f"port {port} is in use; choose others with --base-port (0 picks free ones)"
                )
        cluster = cls(place, lay_out(place, nodes, base), secrets.token_hex(16))
        cluster.is_secured = is_secured
        return cluster.assign(tuple(assignments))

    @classmethod
    def open(cls, directory: str | Path) -> LocalCluster:
        """Return the cluster of a directory.

        Raises:
            NotFound: no cluster was started there.
            InvalidInput: its description does not parse.
        """
        place = Path(directory).absolute()
        file = place / "cluster.json"
        try:
            described = json.loads(file.read_text())
            nodes = [LocalNode(**node, directory=place / node["id"]) for node in described["nodes"]]
            cluster = cls(place, nodes, described["token"])
            cluster.assignments = tuple(described["set"])
            cluster.is_secured = bool(described.get("tls", False))
        except FileNotFoundError:
            raise NotFound(f"no local cluster in {directory} (`raftlog local start`)") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{file} does not parse: {error}") from None
        return cluster

    def grow(self, nodes: int) -> list[str]:
        """Lay out more nodes, up to so many, that join when they are started; return their ids.

        Raises:
            InvalidInput: too many.
        """
        if nodes > NODES_MAX:
            raise InvalidInput(f"a local cluster has 1 to {NODES_MAX} nodes, not {nodes}")
        made = []
        while len(self.nodes) < nodes:
            number = max(int(node.id.removeprefix("n")) for node in self.nodes) + 1
            self.nodes = (*self.nodes, one_more(self.directory, self.nodes, number))
            made.append(self.nodes[-1].id)
        self._save()
        return made

    def forget(self, node_id: str) -> None:
        """Stop a node, and start it no more; its files stay. The cluster itself is not asked."""
        node = self.node(node_id)
        self.stop([node_id])
        self.nodes = tuple(each for each in self.nodes if each is not node)
        self._save()

    def assign(self, assignments: tuple[str, ...]) -> LocalCluster:
        """Set settings for the nodes started from now on; raises `ConfigInvalid`."""
        keys = {text.partition("=")[0].strip() for text in assignments}
        kept = [text for text in self.assignments if text.partition("=")[0].strip() not in keys]
        self.assignments = (*kept, *assignments)
        load(assignments=self.assignments)
        self._save()
        return self

    def _save(self) -> None:
        files.make_directory(self.directory)
        described = {
            "nodes": [
                {"id": n.id, "address": n.address, "http": n.http, "mysql": n.mysql}
                | ({"joins": True} if n.joins else {})
                for n in self.nodes
            ],
            "token": self.token,
            "tls": self.is_secured,
            "set": list(self.assignments),
        }
        content = json.dumps(described, indent=2) + "\n"
        files.write_durably(self.directory / "cluster.json", content.encode())

    # ------------------------------------------------------------ asking

    @property
    def endpoints(self) -> str:
        """Return every node's address, as `--endpoints` takes them."""
        return ",".join(node.address for node in self.nodes)

    @property
    def certs(self) -> Path:
        """Return where a secured cluster's certificates lie."""
        return self.directory / "certs"

    def credentials(self, name: str = "client") -> dict[str, str]:
        """Return what `connect` and the command line take as `cacert`, `cert` and `key`.

        Nothing where the cluster is not secured. `name`: a node's id, or the client.
        """
        if not self.is_secured:
            return {}
        files = {"cacert": "ca.crt", "cert": f"{name}.crt", "key": f"{name}.key"}
        return {option: str(self.certs / file) for option, file in files.items()}

    def node(self, node_id: str) -> LocalNode:
        """Return the node of that id; raises `NotFound`."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise NotFound(f"no node {node_id!r} here; there are {', '.join(n.id for n in self.nodes)}")

    def pid(self, node_id: str) -> int | None:
        """Return the node's process id while it runs."""
        return self._processes.pid(self.node(node_id))

    def is_running(self, node_id: str) -> bool:
        """Whether the node's process lives."""
        return self.pid(node_id) is not None

    def running(self) -> list[str]:
        """Return the ids of the nodes whose processes live."""
        return [node.id for node in self.nodes if self.is_running(node.id)]

    def status(self) -> list[NodeReport]:
        """Return one line for each node."""
        found = []
        for node in self.nodes:
            pid = self.pid(node.id)
            found.append(
                NodeReport(
                    id=node.id,
                    address=node.address,
                    http=node.http,
                    mysql=node.mysql,
                    mariadb=None,
                    pid=pid,
                    running=pid is not None,
                    data_dir=str(node.data_dir),
                )
            )
        return found

    def readiness(self, node_id: str) -> Readiness | None:
        """Return what the node says of itself, or None if it does not answer."""
        url = f"http://{self.node(node_id).http}/readyz"
        try:
            try:
                reply = _opener.open(url, timeout=PROBE_SECONDS)
            except urllib.error.HTTPError as refusal:
                reply = refusal
            with reply:
                body = json.loads(reply.read())
        except (OSError, ValueError):
            return None
        return Readiness(
            ready=body["ready"],
            role=body["role"],
            term=body["term"],
            leader=body["leader"],
            reasons=tuple(body["reasons"]),
        )

    def leader(self) -> str | None:
        """Return the node that leads and takes writes, or None while there is none."""
        best: tuple[int, str] | None = None
        for node_id in self.running():
            said = self.readiness(node_id)
            if said is not None and said.ready and said.role == "leader":
                best = max(best or (0, ""), (said.term, node_id))
        return best[1] if best else None

    def wait_leader(self, timeout: float = START_SECONDS, *, other_than: str | None = None) -> str:
        """Wait until a node leads and takes writes, and return its id.

        Raises:
            NodeFailed: every process has ended.
            Unavailable: not in time.
        """

        def found() -> str | None:
            leader = self.leader()
            if leader is None and not self.running():
                raise NodeFailed(f"every node has ended; see {self.nodes[0].log_file}")
            return leader if leader != other_than else None

        leader = wait_until(found, timeout)
        if leader is None:
            raise Unavailable(f"no leader within {timeout:g} s; see the logs in {self.directory}")
        return leader

    def wait_ready(self, timeout: float = START_SECONDS) -> str:
        """Wait until a leader takes writes and every running node is ready; return the leader.

        Raises as `wait_leader` does.
        """
        deadline = time.monotonic() + timeout
        leader = self.wait_leader(timeout)

        def all_ready() -> bool:
            said = [self.readiness(node_id) for node_id in self.running()]
            return all(one is not None and one.ready for one in said)

        wait_until(all_ready, deadline - time.monotonic())
        return leader

    # ------------------------------------------------------------ starting and stopping

    def start(self, *, timeout: float = START_SECONDS) -> list[str]:
        """Start every node that does not run, wait for a leader, return the ids started.

        What it started is stopped again if it fails.

        Raises:
            NodeFailed: a process ended at once; the message has its last words.
            Unavailable: no leader in time.
        """
        with self._exclusive():
            missing = [node.id for node in self.nodes if not self.is_running(node.id)]
            for node_id in missing:
                self._spawn(self.node(node_id))
        deadline = time.monotonic() + timeout
        try:
            for node_id in missing:
                self._wait_answering(node_id, deadline - time.monotonic())
            self.wait_ready(max(1.0, deadline - time.monotonic()))
        except BaseException:
            self.stop(missing)
            raise
        return missing

    def restart(self, node_id: str, *, timeout: float = START_SECONDS) -> None:
        """Start one node that was killed or stopped, and wait until it answers."""
        with self._exclusive():
            if self.is_running(node_id):
                return
            self._spawn(self.node(node_id))
        self._wait_answering(node_id, timeout)

    def kill(self, node_id: str) -> None:
        """End the node's process as a power cut would (SIGKILL), and wait until it is gone."""
        self._signal([node_id], signal.SIGKILL)
        self._wait_gone([node_id], STOP_SECONDS)

    def stop(self, node_ids: Iterable[str] | None = None, *, timeout: float = STOP_SECONDS) -> bool:
        """Stop these nodes, or all of them, cleanly; return whether none had to be killed."""
        chosen = list(node_ids) if node_ids is not None else [node.id for node in self.nodes]
        with self._exclusive():
            self._signal(chosen, signal.SIGCONT)
            self._signal(chosen, signal.SIGTERM)
            if self._wait_gone(chosen, timeout):
                return True
            self._signal(chosen, signal.SIGKILL)
            self._wait_gone(chosen, STOP_SECONDS)
        return False

    def pause(self, node_id: str) -> None:
        """Freeze the node's process (SIGSTOP), as a hypervisor might."""
        self._signal([node_id], signal.SIGSTOP)

    def resume(self, node_id: str) -> None:
        """Let a frozen process go on."""
        self._signal([node_id], signal.SIGCONT)

    def _signal(self, node_ids: Iterable[str], number: signal.Signals) -> None:
        for node_id in node_ids:
            pid = self.pid(node_id)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _wait_gone(self, node_ids: Sequence[str], timeout: float) -> bool:
        gone = wait_until(lambda: not any(map(self.is_running, node_ids)), timeout)
        for node_id in node_ids:
            if not self.is_running(node_id):
                self.node(node_id).pid_file.unlink(missing_ok=True)
        return bool(gone)

    def _spawn(self, node: LocalNode) -> None:
        arguments: list[str] = []
        for flag, value in (
            ("--node-id", node.id),
            ("--data-dir", str(node.data_dir)),
            ("--listen", node.address),
            ("--http", node.http),
        ):
            arguments += [flag, value]
        if node.joins:
            # All of them: one that runs may be frozen, or be no member yet.
            others = [each for each in self.nodes if each is not node]
            asked = [each for each in others if self.is_running(each.id)] or others
            addresses = ",".join(each.address for each in asked)
            arguments += ["--join", addresses, "--promote"]
        else:
            founders = ",".join(f"{n.id}={n.address}" for n in self.nodes if not n.joins)
            arguments += ["--bootstrap-token", self.token, "--initial-cluster", founders]
        for option, file in self.credentials(node.id).items():
            arguments += [f"--{option}", file]
        for assignment in self.assignments:
            arguments += ["--set", assignment]
        self._processes.spawn(node, arguments)

    def _wait_answering(self, node_id: str, timeout: float) -> None:
        node = self.node(node_id)

        def answers() -> bool:
            if not self.is_running(node_id):
                raise NodeFailed(f"node {node_id} ended at once: {last_words(node.log_file)}")
            return self.readiness(node_id) is not None

        if not wait_until(answers, timeout):
            raise NodeFailed(
                f"node {node_id} does not answer; see {node.log_file}; what does not run is "
                f"started by `raftlog local start --dir {self.directory}`"
            )

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep two commands from starting or stopping the same nodes at once."""
        files.make_directory(self.directory)
        with open(self.directory / "lock", "w", opener=files.private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


# A proxy configured for the outside world has no business between us and loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_until(condition: Callable[[], T], timeout: float) -> T | None:
    """Poll until `condition` gives something true and return it; None when time is up."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            return None
        time.sleep(POLL_SECONDS)
