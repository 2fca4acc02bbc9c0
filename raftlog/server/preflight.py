"""What is checked before a node starts: `serve` and `config check` refuse the same, here.

Nothing is changed, and nothing listens. What only the moment decides (a port that is taken, a
directory that is in use) is found when the node starts.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
import socket
from typing import Any

from raftlog.config.schema import Settings
from raftlog.config.values import split_address
from raftlog.core.settings import CoreSettings
from raftlog.errors import ConfigInvalid, SafetyRefused, StorageError
from raftlog.interfaces import StateMachine
from raftlog.machines.registry import load as load_machine
from raftlog.node.settings import NodeSettings
from raftlog.security.policy import check_listen, is_loopback
from raftlog.server.directory import (
    check_directory,
    first_boundary,
    is_without_machine,
    storage_settings,
)
from raftlog.storage.lmdb import LmdbStorage
from raftlog.wire.channel import TlsMaterial, message_limit

REQUIRED = ("node_id", "data_dir", "listen")
"""Without these no node starts, whatever its directory holds."""
TLS_FILES = ("tls.cacert", "tls.cert", "tls.key")
MESSAGE_BYTES_MAX = (1 << 31) - 1
"""The size of a gRPC message is a 32-bit number with a sign."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What was loaded to be checked, for whoever starts the node.

    `machine`: None where the directory is a witness', or is not made yet and may become one.
    """

    machine: StateMachine | None
    tls: TlsMaterial | None


def check_start(settings: Settings) -> Checked:
    """Check all that can be known before a node starts.

    Raises:
        ConfigInvalid: a setting is missing or wrong, or a file that it names is.
        SafetyRefused: an address must not be opened, or the directory is not this node's.
        StorageError: the directory cannot be used.
    """
    for key in REQUIRED:
        if not getattr(settings, key):
            flag = "--" + key.replace("_", "-")
            raise ConfigInvalid(f"{key} is needed: {flag}, RAFTLOG_{key.upper()} or in the TOML")
    if settings.tls.roles and not settings.tls.is_configured:
        raise ConfigInvalid(f"tls.roles needs {', '.join(TLS_FILES)}: roles are in certificates")
    is_there = LmdbStorage.exists(settings.data_dir)
    is_decided = is_there or not settings.join
    machine = _machine(settings) if is_decided else None
    checked = _check(settings, machine)
    if machine is not None and not is_there:
        first_boundary(settings, machine)
    return checked


def check_file(settings: Settings) -> tuple[str, ...]:
    """Check as `check_start` does, but for keys that are not set: a flag may still give them.

    Returns those keys. A directory that is there is looked into, which a start does by itself.
    """
    _check(settings, _machine(settings))
    is_there = bool(settings.data_dir) and LmdbStorage.exists(settings.data_dir)
    if is_there and settings.node_id:
        check_directory(settings)
    founding = () if is_there or settings.join else ("bootstrap_token", "initial_cluster")
    files = TLS_FILES if settings.tls.roles and not settings.tls.is_configured else ()
    return (*(key for key in (*REQUIRED, *founding) if not getattr(settings, key)), *files)


def _machine(settings: Settings) -> StateMachine | None:
    """Return the machine, loaded; None beside a witness' directory, whose host need not have it."""
    return None if is_without_machine(settings.data_dir) else load_machine(settings.machine)


def _check(settings: Settings, machine: StateMachine | None) -> Checked:
    check_exposure(settings)
    _check_addresses(settings)
    tls, material = settings.tls, None
    if tls.is_configured:
        from raftlog.security.tls import load_tls  # noqa: PLC0415 - spares plain text

        material = load_tls(tls.cacert, tls.cert, tls.key)
    node_settings(settings)
    storage_settings(settings)
    _check_message_size(settings)
    if settings.data_dir:
        _check_place(settings, machine)
    return Checked(machine, material)


def check_exposure(settings: Settings) -> None:
    """Refuse to open a port to the network without TLS, unless told to.

    Raises:
        SafetyRefused: an address is not loopback, and neither TLS nor `insecure` is set.
    """
    for flag, address in (("--listen", settings.listen), ("--http", settings.http)):
        try:
            if address:
                check_listen(
                    address,
                    secured=settings.tls.is_configured,
                    insecure_allowed=settings.insecure,
                )
        except ConfigInvalid as error:
            raise SafetyRefused(f"{flag}: {error.message}") from None


def openness(settings: Settings) -> str | None:
    """Return why more people may operate the cluster than should, or None."""
    if settings.tls.roles:
        return None
    if settings.tls.is_configured:
        return (
            "any client's certificate may operate the cluster: give each its role "
            "(`raftlog certs create --role`), and then set tls.roles on every node"
        )
    if is_loopback(settings.listen):
        return None
    return f"whoever can reach {settings.listen} may operate the cluster: it is open without TLS"


def _check_addresses(settings: Settings) -> None:
    if settings.http and settings.http == settings.listen and split_address(settings.http)[1]:
        raise ConfigInvalid(f"listen and http are both {settings.http}: give each its own port")
    for key in ("listen", "http"):
        address = getattr(settings, key)
        if address:
            _check_is_here(key, address)


def _check_is_here(key: str, address: str) -> None:
    """Refuse a host that is none of this machine's, whatever port is free there."""
    host = split_address(address)[0]
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigInvalid(
            f"{key}: the name of {address} does not resolve: {error.strerror or error}"
        ) from None
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(place)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                return  # found when the node starts, if it is still so
        else:
            return
    raise ConfigInvalid(f"{key}: {address} is no address of this machine")


def _check_message_size(settings: Settings) -> None:
    limits = settings.limits
    size = message_limit(limits.transaction_bytes_max, limits.group_bytes_max)
    if size > MESSAGE_BYTES_MAX:
        raise ConfigInvalid(
            f"limits.transaction_bytes_max ({limits.transaction_bytes_max}) and "
            f"limits.group_bytes_max ({limits.group_bytes_max}) need messages of {size} bytes: at "
            f"most {MESSAGE_BYTES_MAX} can be sent"
        )


def _check_place(settings: Settings, machine: StateMachine | None) -> None:
    """Check the data directory, or where it would be made."""
    path = pathlib.Path(settings.data_dir)
    if LmdbStorage.exists(path):
        _check_writable(path, f"cannot use {path}")
    else:
        founds = settings.node_id and settings.bootstrap_token and settings.initial_cluster
        if founds and machine is not None:
            first_boundary(settings, machine)
        _check_writable(path, f"cannot create {path}")
    _check_trace(settings, path)


def _check_writable(path: pathlib.Path, doing: str) -> None:
    """Refuse a place where nothing can be written, or that is no directory."""
    place = path
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        is_directory = place.is_dir()
    except OSError as error:
        raise StorageError(f"{doing}: {error.strerror or error}") from None
    if not is_directory:
        raise StorageError(f"{doing}: {place} is not a directory")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        raise StorageError(f"{doing}: {place} cannot be written by this user")


def _check_trace(settings: Settings, data_dir: pathlib.Path) -> None:
    if not settings.debug.trace_file:
        return
    path = data_dir / settings.debug.trace_file
    place = path if path.exists() else path.parent
    is_good = place == data_dir or (
        path.parent.is_dir() and not path.is_dir() and os.access(place, os.W_OK)
    )
    if not is_good or path == data_dir:
        raise ConfigInvalid(f"cannot write debug.trace_file {path}")


# ---------------------------------------------------------------- settings of the parts


def named(kind: type, *sections: object) -> dict[str, Any]:
    """Return what the sections set of a part's settings: an operator's word keeps its name."""
    wanted = {field.name for field in dataclasses.fields(kind)}
    return {
        field.name: getattr(section, field.name)
        for section in sections
        if dataclasses.is_dataclass(section)
        for field in dataclasses.fields(section)
        if field.name in wanted
    }


def node_settings(settings: Settings) -> NodeSettings:
    """Return the node's part of the settings."""
    core = CoreSettings(**named(CoreSettings, settings.raft, settings.retention))
    sections = (settings.limits, settings.retention, settings.disk)
    return NodeSettings(
        core=core,
        advertise=settings.advertised,
        peers=settings.peers,
        **named(NodeSettings, *sections),
    )
