"""The published specification of Raft, executable, and traces held against it.

Written from the TLA+ specification (D. Ongaro, `raft.tla`; thesis, appendix B), with the thesis's
membership changes (chapter 4) and, as etcd's trace specification extends it, heartbeats, snapshots
and a durable part. Nothing here imports raftlog: two implementations by the same code would agree.

`chains`: logs. `model`: one server's variables and the cluster's, and the actions on them.
`properties`: what must hold of each state. `explore`: every state of a tiny cluster. `validator`:
trace lines as actions. `python -m raftlog.sim.spec FILE ...` validates traces.
"""
