"""Engine 2: the asyncio shell under virtual time.

The production node (`raftlog.node.Node`), its gRPC transport and services and the client's SDK run
unmodified, each process on an event loop of its own whose time the world decides. Messages travel
through simulated connections, commits go to `MemoryStorage` disks. Start reading at
`world.ShellWorld`; run it with ``python -m raftlog.sim --engine shell --seeds 0..19``.
"""
