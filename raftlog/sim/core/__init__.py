"""Engine 1: the production core over `MemoryStorage`, by discrete events.

A process here is a core, a disk and a clock, driven in the legal order of `raftlog/core/ready.py`;
proposals, sessions, enrolment and the kv machine are the node's own code. Start reading at
`world.World`.
"""
