"""The deterministic simulator: production code in seeded worlds of faults.

One seed decides everything. Run it with ``python -m raftlog.sim --seeds 0..99``. Nothing of raftlog
imports this package. Its rooms:

- here: what both engines share: checker and properties, scheduler, transcript, outcomes,
  `stage` (what a part may ask of its world) and `faults` (dice, pace, victims);
- `core`: engine 1, `raftlog.core` over a disk in memory, by discrete events;
- `shell`: engine 2, whole nodes with their transport, services and clients, in virtual time;
- `runs`: batches of seeds, their summaries, shrinking, the command line;
- `exhaustive`: every order of events of a tiny cluster;
- `spec`: the published specification, written anew, and the check of traces against it.
"""
