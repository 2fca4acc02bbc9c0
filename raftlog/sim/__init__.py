"""The deterministic simulator: the production core in a seeded world of faults.

One seed decides everything. Engine 1 drives `raftlog.core` over `MemoryStorage` by discrete events,
in the legal order of `core/ready.py`, and checks the invariants of `raftlog.sim.checker` after each
event. Start reading at `world.World`; run it with ``python -m raftlog.sim --seeds 0..99``. Nothing
of raftlog imports this package.
"""
