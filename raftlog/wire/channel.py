"""Channels and server options: the one place where gRPC's knobs are set, for client and server.

Every channel has a connection of its own (`grpc.use_local_subchannel_pool`), reconnects within
about a second and resolves names anew when it does. A vanished host, which resets nothing, is
noticed by keepalive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import grpc

from raftlog.effects import RESULT_BYTES_MAX
from raftlog.errors import ConfigInvalid

Options = Sequence[tuple[str, int | str]]

MESSAGE_SLACK_BYTES = 1 << 20
"""What a message may hold besides the largest group: headers, tags, the length table."""

UNLIMITED = -1
"""gRPC's word for a message of any size."""

RECONNECT_FIRST_MS = 50
RECONNECT_MAX_MS = 1000
CONNECT_TIMEOUT_MS = 2000
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000
PING_INTERVAL_MIN_MS = 1_000
DNS_INTERVAL_MIN_MS = 500
HANDSHAKE_TIMEOUT_MS = 5_000
"""A connection that does not speak HTTP/2 by then is closed."""

IDLE_MS = 300_000
"""A connection without a call for so long is closed; a client opens another when it needs one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """PEM bytes: the authority's certificates, and one's own certificate chain and key.

    Invariant: `cert` and `key` are both set or both None; a server needs them.
    """

    ca: bytes
    cert: bytes | None = None
    key: bytes | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ConfigInvalid("a certificate and its key are needed together: --cert and --key")


class TlsSource:
    """The material in use. New connections are made with what was put in last; any thread reads it.

    A certificate is replaced so without a restart.
    """

    def __init__(self, material: TlsMaterial) -> None:
        self.material = material


def message_limit(transaction_bytes_max: int, group_bytes_max: int) -> int:
    """Return the gRPC message size that fits the largest legal group."""
    return max(transaction_bytes_max, group_bytes_max) + MESSAGE_SLACK_BYTES


def answer_limit(message_bytes_max: int) -> int:
    """Return how large an answer of a server is at most that takes messages of that size."""
    return max(message_bytes_max, RESULT_BYTES_MAX + MESSAGE_SLACK_BYTES)


def channel_options(message_bytes_max: int) -> Options:
    """Return the options of a client's channel."""
    return (
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
        ("grpc.dns_min_time_between_resolutions_ms", DNS_INTERVAL_MIN_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
    )


def server_options(message_bytes_max: int) -> Options:
    """Return the options of a server that takes messages of that size.

    Its answers may also be as large as the results of one entry are, whatever it takes itself.
    `grpc.so_reuseport` is off, so that a port that another process holds is a clear error.
    """
    return (
        ("grpc.max_send_message_length", answer_limit(message_bytes_max)),
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MIN_MS),
        ("grpc.http2.max_ping_strikes", 0),
    )


def channel_credentials(tls: TlsMaterial) -> grpc.ChannelCredentials:
    """Return the credentials of a client that trusts `tls.ca` and may show a certificate."""
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca, private_key=tls.key, certificate_chain=tls.cert
    )


def server_credentials(source: TlsSource) -> grpc.ServerCredentials:
    """Return the credentials of a server to which every client must show a certificate.

    Each new connection is given the material that `source` has then.

    Raises:
        ConfigInvalid: a server's own certificate is missing.
    """
    given = source.material

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        now = source.material
        if now is given:
            return None
        configuration = _server_configuration(now)
        given = now
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        _server_configuration(given),
        changed,  # type: ignore[arg-type]  # the stubs forget that None means: as before
        require_client_authentication=True,
    )


def _server_configuration(tls: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    if tls.cert is None or tls.key is None:
        raise ConfigInvalid("a server needs a certificate and its key")
    return grpc.ssl_server_certificate_configuration(
        [(tls.key, tls.cert)], root_certificates=tls.ca
    )


OpenChannel = Callable[[str, TlsMaterial | None, Options], grpc.aio.Channel]
"""Makes a channel to HOST:PORT; `open_channel` unless a simulated world brings its own."""


def open_channel(address: str, tls: TlsMaterial | None, options: Options) -> grpc.aio.Channel:
    """Return a channel to HOST:PORT; it connects when the first call is made."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=list(options))
    return grpc.aio.secure_channel(address, channel_credentials(tls), options=list(options))
