"""MySQL's and MariaDB's side of the log: sets of GTIDs, binlog events, the client protocol.

`gtid`, `binlog` and `protocol` are pure: bytes and values, neither sockets nor the core. `net` is
the adapter that speaks them to programs outside, and sees the node as any service does.
"""
