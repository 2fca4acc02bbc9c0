"""The composition root: the only place that picks adapters and joins them to a node."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import importlib.metadata
import json
import random
import secrets
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from raftlog.backup.source import BackupSource
from raftlog.config.schema import SETTINGS, Settings, shown
from raftlog.config.values import split_address
from raftlog.errors import ConfigInvalid
from raftlog.heap import keep_heap
from raftlog.interfaces import Event, StateMachine, Storage, versions_of
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.machines.registry import load as load_machine
from raftlog.node.boundary_applier import NoMachine
from raftlog.node.node import Node
from raftlog.node.ports import Ports, Shared
from raftlog.rpc.peer import GrpcTransport
from raftlog.rpc.server import GrpcServer
from raftlog.rpc.settings import ServerSettings, ShownSetting, TransportSettings
from raftlog.security.policy import CertificateUris
from raftlog.server.clock import SystemClock
from raftlog.server.descriptors import DescriptorWatch
from raftlog.server.diagnostics import Diagnostics
from raftlog.server.directory import open_storage, removed
from raftlog.server.loop_watch import LoopWatch
from raftlog.server.preflight import check_start, named, node_settings, openness
from raftlog.server.switches import FileSwitches
from raftlog.server.traces import TraceFile, open_watch
from raftlog.storage.lmdb import LmdbStorage
from raftlog.telemetry.http import HttpServer
from raftlog.telemetry.logs import lead_standard_logging, make_logger
from raftlog.telemetry.metrics import PrometheusObserver, StatusCollector
from raftlog.telemetry.surroundings import SurroundingsCollector
from raftlog.wire.channel import TlsSource, message_limit

if TYPE_CHECKING:
    from raftlog.server.certificates import CertificateWatch
    from raftlog.server.joining import Asking

GC_THRESHOLDS = (50_000, 20, 50)
SWITCH_INTERVAL_SECONDS = 0.001


@dataclasses.dataclass(slots=True, kw_only=True)
class RunningNode:
    """A node and what surrounds it. `stop` ends all of it, in the reverse order."""

    node: Node
    server: GrpcServer
    http: HttpServer | None
    observer: PrometheusObserver
    shared: Shared
    storage: Storage
    trace: TraceFile | None
    descriptors: DescriptorWatch | None = None
    loop_watch: LoopWatch | None = None
    certificates: CertificateWatch | None = None
    asking: Asking | None = None
    """It goes on asking to be added."""

    @property
    def endings(self) -> list[asyncio.Future[BaseException]]:
        """Return what resolves with the error that the node has to stop for."""
        refused = [] if self.asking is None else [self.asking.refused]
        return [self.node.failed, *refused]

    is_stuck: bool = False
    """Whether a thread is still at something that may never end: the process ends without it."""

    async def stop(self, *, hand_over: bool) -> None:
        """Hand leadership over if asked to, answer what is under way, and close everything."""
        for watch in (self.descriptors, self.loop_watch):
            if watch is not None:
                watch.stop()
        if self.certificates is not None:
            await self.certificates.stop()
        if self.asking is not None:
            await self.asking.stop()
        if self.http is not None:
            await self.http.stop()
        await self.node.stop(hand_over=hand_over)
        await self.server.stop()
        self.close()

    def close(self) -> None:
        """End the threads, then close the files that they may still be at."""
        if self.shared.close():
            self.storage.close()
        else:
            self.is_stuck = True  # a thread may still be at the storage
        if self.trace is not None:
            self.trace.close()


async def compose(
    settings: Settings,
    sources: Mapping[str, str] | None = None,
    observer: PrometheusObserver | None = None,
) -> RunningNode:
    """Start a node as the settings say, on the running loop.

    Args:
        settings: all of them.
        sources: where settings were set, for those who ask the running node.
        observer: what its events go to, for a node that is a guest of its process. Without one the
            process is the node's: its log is set up as the settings say, for all libraries.

    Raises:
        ConfigInvalid: a setting is missing or wrong.
        SafetyRefused: an address must not be opened, or the directory is not this node's.
        StorageError: the directory cannot be used, or is damaged beyond use.
    """
    checked = check_start(settings)
    source = None if checked.tls is None else TlsSource(checked.tls)
    observer = _observer(settings) if observer is None else observer
    storage = await _own_storage(settings, checked.machine)
    try:
        machine = _machine_of(settings, storage, checked.machine)
        running = _assemble(settings, sources or {}, storage, machine, observer, source)
    except BaseException:
        storage.close()
        raise
    try:
        await _bind(running, settings)
    except BaseException:
        await running.server.stop()
        running.close()
        raise
    running.shared.start()
    await running.node.start()
    if running.node.is_outside:
        running.asking = _ask_on(settings, running.node, observer)
    running.descriptors = DescriptorWatch(running.node.alarms)
    running.descriptors.start()
    running.loop_watch = LoopWatch(observer)
    running.loop_watch.start()
    if source is not None:
        running.certificates = _watch_certificates(settings, source, observer, running.node)
    observer.event(
        Event.STARTED,
        cluster_id=storage.identity.cluster_id,
        instance_id=storage.identity.instance_id,
        listen=settings.listen,
        http=settings.http,
        machine=settings.machine if storage.identity.has_machine else "none: a witness",
    )
    warning = openness(settings)
    if warning is not None:
        observer.event(Event.ANYONE_OPERATES, why=warning)
    if settings.mysql:
        observer.event(Event.MYSQL_NOT_SERVED, address=settings.mysql, why="not in this version")
    return running


def _watch_certificates(
    settings: Settings, source: TlsSource, observer: PrometheusObserver, node: Node
) -> CertificateWatch:
    from raftlog.server.certificates import CertificateWatch  # noqa: PLC0415 - spares plain text

    files = (settings.tls.cacert, settings.tls.cert, settings.tls.key)
    watch = CertificateWatch(source, files, observer, node.alarms)
    watch.start()
    return watch


def _ask_on(settings: Settings, node: Node, observer: PrometheusObserver) -> Asking | None:
    if not settings.join:
        return None
    from raftlog.server.joining import Asking  # noqa: PLC0415 - it needs the client

    asking = Asking(settings, node, observer)
    asking.start()
    return asking


def _machine_of(settings: Settings, storage: Storage, machine: StateMachine | None) -> StateMachine:
    """Return what runs beside this directory; a witness' has no machine, and none is loaded."""
    if not storage.identity.has_machine:
        return NoMachine()
    return load_machine(settings.machine) if machine is None else machine


async def _own_storage(settings: Settings, machine: StateMachine | None) -> LmdbStorage:
    """Return this node's directory; one that joins is made and added first."""
    if not settings.join:
        return open_storage(settings, machine)
    from raftlog.server import joining  # noqa: PLC0415 - it needs the client

    was_there = LmdbStorage.exists(settings.data_dir)
    await joining.make_directory(settings)
    storage = open_storage(settings, machine)
    seconds = joining.AGAIN_SECONDS if was_there else joining.JOIN_SECONDS
    try:
        await joining.ask_in(settings, storage, seconds=seconds)
    except joining.PASSING:
        if not was_there:
            storage.close()
            raise
    except BaseException:
        storage.close()
        raise
    return storage


def _assemble(
    settings: Settings,
    sources: Mapping[str, str],
    storage: LmdbStorage,
    machine: StateMachine,
    observer: PrometheusObserver,
    tls: TlsSource | None,
) -> RunningNode:
    """Join adapters and node; nothing listens and nothing runs yet."""
    watch, trace = open_watch(
        settings.debug, settings.data_dir, lambda why: observer.event(Event.TRACE_ENDED, why=why)
    )
    transport = GrpcTransport(
        store=storage,
        observer=observer,
        settings=_transport_settings(settings, machine, tls),
    )
    ports = Ports(
        storage=storage,
        transport=transport,
        machine=machine,
        clock=SystemClock(),
        observer=observer,
        random=random.Random(secrets.randbits(64)),  # noqa: S311 - spreads timeouts
        settings=node_settings(settings),
        switches=FileSwitches(settings.data_dir),
    )
    shared = Shared.of(clock=ports.clock, observer=observer, settings=ports.settings)
    node = Node(ports, shared, watch=watch)
    if node.is_removed:
        raise removed(settings)
    limits = _server_settings(settings, sources)
    diagnostics = Diagnostics(node, observer, limits.shown)
    server = GrpcServer(
        node,
        transport,
        listen=settings.listen,
        tls=tls,
        settings=dataclasses.replace(limits, diagnose=diagnostics.collect),
        backups=BackupSource(node, storage, ports.clock, shared.executors.snapshot),
    )
    observer.registry.register(StatusCollector(node.status, node.info, lambda: node.alarms))
    observer.registry.register(
        SurroundingsCollector(
            version=importlib.metadata.version("raftlog"),
            data_dir=settings.data_dir,
            methods=server.latencies.methods,
            appends=server.latencies.appends,
            machine=machine.gauges,
        )
    )
    return RunningNode(
        node=node,
        server=server,
        http=_http_server(settings, node, observer),
        observer=observer,
        shared=shared,
        storage=storage,
        trace=trace,
    )


def _observer(settings: Settings) -> PrometheusObserver:
    """Return what events and measures go to, with the log set up behind it."""
    observer = PrometheusObserver(settings.node_id)
    context, format_ = observer.context, settings.logging.format
    logger = make_logger(context, level=settings.logging.level, format_=format_)
    observer.log_to(logger, audit=make_logger(context, level="info", format_=format_))
    lead_standard_logging(logger, settings.logging.level)
    return observer


async def _bind(running: RunningNode, settings: Settings) -> None:
    """Take the addresses before the node takes part, so that a taken one is said at once."""
    await running.server.start()
    if running.http is not None:
        host, port = split_address(settings.http)
        try:
            await running.http.start(host, port)
        except OSError as error:
            raise ConfigInvalid(
                f"cannot listen on {settings.http}: {error.strerror or error}"
            ) from None


def tune_interpreter() -> None:
    """Spare the node pauses: few collections, none of what start-up made, and a heap that stays.

    A thread that computes holds the interpreter for a switch interval at a time; the default of
    5 ms would show in every commit while a machine applies.
    """
    keep_heap()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)


# ---------------------------------------------------------------- settings of the parts


def _server_settings(settings: Settings, sources: Mapping[str, str]) -> ServerSettings:
    lines = (
        ShownSetting(
            key=key,
            value_json=json.dumps(value),
            source=sources.get(key, "default"),
            meaning=SETTINGS[key].doc,
        )
        for key, value in shown(settings).items()
    )
    return ServerSettings(
        authenticator=CertificateUris() if settings.tls.roles else None,
        shown=tuple(lines),
        **named(ServerSettings, settings.limits),
    )


def _transport_settings(
    settings: Settings, machine: StateMachine, tls: TlsSource | None
) -> TransportSettings:
    limits = settings.limits
    return TransportSettings(
        address=settings.advertised,
        incarnation=secrets.token_hex(8),
        tls=tls,
        authenticator=CertificateUris() if tls is not None else None,
        feature_level_max=FEATURE_LEVEL_MAX,
        machine_versions=versions_of(machine),
        message_bytes_max=message_limit(limits.transaction_bytes_max, limits.group_bytes_max),
        catch_up_bytes_per_second=settings.raft.catch_up_bytes_per_second,
    )


def _http_server(settings: Settings, node: Node, observer: PrometheusObserver) -> HttpServer | None:
    if not settings.http:
        return None
    return HttpServer(node, metrics=observer.exposition, failed=node.failed.done)
