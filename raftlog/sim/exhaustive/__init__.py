"""A small-scope search: every order of events of a tiny cluster, run through the real core.

Most bugs of a consensus protocol show in a cluster of three with a handful of events, if only every
order of them is tried. `nodes` makes the core a function from (state, input) to (state, messages),
computed once for each pair; `search` walks all reachable states of the cluster and checks each.

What is bounded: terms, proposals, crashes. What is not: each message may be delivered at any time
after it was sent, any number of times, or never; each write may complete at any time, or be lost by
a crash; anybody may stand for election at any time. What is left out: pre-votes (always granted),
leases, reads, membership changes, snapshots, clocks; those belong to the seeds.
"""
