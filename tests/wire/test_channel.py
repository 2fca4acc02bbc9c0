"""Channel and server options, and credentials from plain bytes."""

from __future__ import annotations

import pytest

from raftlog.effects import RESULT_BYTES_MAX
from raftlog.errors import ConfigInvalid
from raftlog.wire import channel
from raftlog.wire.channel import TlsMaterial, TlsSource


def test_message_limit_fits_the_largest_group() -> None:
    """One transaction over the group limit still travels, with its framing."""
    assert channel.message_limit(16 << 20, 4 << 20) == 17 << 20
    assert channel.message_limit(1 << 20, 4 << 20) == 5 << 20


def test_options_bound_messages_and_reconnects() -> None:
    """Both ends take messages of the same size; channels own their connection, retry in 1 s."""
    client = dict(channel.channel_options(123))
    server = dict(channel.server_options(123))
    assert client["grpc.max_send_message_length"] == 123
    for options in (client, server):
        assert options["grpc.max_receive_message_length"] == 123
    # An answer may hold what one entry's results may, whatever the server takes itself.
    assert server["grpc.max_send_message_length"] > RESULT_BYTES_MAX
    assert client["grpc.use_local_subchannel_pool"] == 1
    assert client["grpc.max_reconnect_backoff_ms"] == 1000
    assert server["grpc.so_reuseport"] == 0


def test_server_tolerates_its_clients_keepalive() -> None:
    """A client's keepalive pings never look like abuse to the server."""
    client = dict(channel.channel_options(1))
    server = dict(channel.server_options(1))
    allowed = server["grpc.http2.min_recv_ping_interval_without_data_ms"]
    assert int(allowed) < int(client["grpc.keepalive_time_ms"])


def test_a_certificate_without_its_key_is_refused() -> None:
    """Half a pair is a configuration error, not a server without a certificate."""
    with pytest.raises(ConfigInvalid, match="together"):
        TlsMaterial(ca=b"ca", cert=b"cert")


def test_a_server_needs_its_own_certificate() -> None:
    """Trusting an authority is not enough to serve."""
    with pytest.raises(ConfigInvalid, match="server needs"):
        channel.server_credentials(TlsSource(TlsMaterial(ca=b"ca")))


def test_a_private_key_is_not_printed() -> None:
    """The key stays out of logs that print the value."""
    assert "secret" not in repr(TlsMaterial(ca=b"ca", cert=b"cert", key=b"secret"))
