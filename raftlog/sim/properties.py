"""Why each property matters: what a reader of a transcript is told beside the one that broke.

Sections are those of the Raft thesis (Ongaro 2014); S numbers are those of
`docs/reference/safety-bugs.md`.
"""

from __future__ import annotations

WHY = {
    "a witness keeps what others lack": (
        "a witness has no machine: what it purged before a member with a machine held it is lost "
        "with the one other member that has it (section 5.1)"
    ),
    "a witness keeps no state": (
        "it has no machine to bring up to date with it, and a snapshot of it would be taken for "
        "one with the state"
    ),
    "a witness takes no writes": (
        "a witness has no state machine, so it cannot say what a write came to; it must hand over"
    ),
    "ack after sync": (
        "an ack vouches for what a crash cannot take back; told earlier, a leader counts a copy "
        "that may vanish (section 3.8, S39)"
    ),
    "a trial changes nothing": (
        "a mock election asks whether a real one would be won; one that moves a term, a vote, a "
        "timer or a lease is the outage that it is meant to spare"
    ),
    "a hand-over is tried first": (
        "who hands over after a mock election must know that a majority would follow the successor"
    ),
    "acknowledged is committed": "a client was told that something happened which may be undone",
    "a removed member is not heard": (
        "whoever was removed and comes back with its old directory must disturb nobody, and its "
        "votes and acks must count for nothing (section 4.2.3, S12, S37)"
    ),
    "an address is of the known directory": (
        "a stranger under a member's name must not draw the traffic that is meant for the member"
    ),
    "an order changes the version that it saw": (
        "two operators at once: the slower one's order was meant for a membership that is gone"
    ),
    "apply once, in order": (
        "each entry changes the state exactly once and in the log's order, or members differ "
        "(section 3.5, S38)"
    ),
    "clean stop": "a node that is asked to stop must stop, and answer whoever waits for it",
    "client history": (
        "what clients were told does not fit the log that all members agree on (section 6.3)"
    ),
    "commit monotone": (
        "what is committed stays committed, across restarts too; a lower commit index forgets a "
        "decision that others have acted on (section 3.6)"
    ),
    "converge byte-equal": "members that hold the same entries must hold the same bytes",
    "damage beyond repair refuses": (
        "more copies rotted than a majority can do without; whoever leads now may lack what was "
        "acknowledged, so nobody may (S40)"
    ),
    "dense sequences": "every transaction has the number after the last one's; a gap is a lost one",
    "durable on a quorum": (
        "committed means that a majority holds it on disk; with fewer copies the next leader may "
        "not have it (section 3.6, S20)"
    ),
    "election safety": (
        "two leaders of one term put different entries at one index, and both count them "
        "(section 3.4)"
    ),
    "exactly once": "a retry of what has happened must find it done, not do it again (section 6.3)",
    "leader append-only": "a leader never drops or rewrites an entry of its own log (figure 3.2)",
    "leader completeness": (
        "a leader lacks an entry that was committed, and will overwrite it on the others "
        "(section 3.6.1)"
    ),
    "lease exclusivity": (
        "while a lease may still be believed in, nobody else may lead, or reads answered without a "
        "quorum are stale (section 6.4.1)"
    ),
    "linearizability": (
        "no order of the operations, each somewhere between its call and its answer, explains what "
        "clients saw"
    ),
    "liveness": (
        "a majority is alive and connected, and yet nothing moves; in production somebody would "
        "have to be woken"
    ),
    "log matching": (
        "two logs with the same term at an index must be equal up to there; that is what lets a "
        "follower check one entry for all before it (section 3.5)"
    ),
    "membership overlap": (
        "two memberships are in force of which each can decide without a member of the other "
        "(sections 4.1 and 4.3, S30)"
    ),
    "one vote per term": (
        "a node that votes twice in a term, say because it forgot the vote when it restarted, can "
        "elect two leaders (section 3.8, S1)"
    ),
    "own vote durable": (
        "a candidate asks for votes that its own restart would forget it competes with (S1)"
    ),
    "reads are never stale": (
        "a read missed a write that was acknowledged before the read began (section 6.4)"
    ),
    "snapshot is the fold of the log": (
        "a snapshot stands for the entries it replaces; if it differs, a member that is caught up "
        "by it is another one from then on (section 5.1)"
    ),
    "state is the fold of the log": (
        "a member's state is not what its log says, so members with equal logs differ (S38)"
    ),
    "state machine safety": (
        "two nodes applied, or hold as committed, different entries at one index (section 3.6.3)"
    ),
    "tail": "who follows the log sees each transaction once, in order, and none that is undone",
    "what is so already is a success": (
        "an order whose answer was lost is given again; it must neither fail nor act twice"
    ),
    "who is promoted has caught up": (
        "a voter that lacks much of the log keeps commits waiting until it has it (section 4.2.1)"
    ),
    "watch": "who watches keys sees each change once, in order, and none that is undone",
    "term monotone": (
        "a term that falls lets old leaders and old votes count again (section 3.3, S1)"
    ),
    "vote durable before it is told": (
        "a vote that a crash can take back may be given again to another (section 3.8, S1)"
    ),
}
NOTICED = (
    ("vote of term", "one vote per term"),
    ("hard state goes back", "term monotone"),
    ("truncation from", "leader completeness"),
    ("does not follow", "log matching"),
    ("its chain gives", "log matching"),
    ("begins at sequence", "dense sequences"),
    ("commit index", "commit monotone"),
    ("effects up to", "apply once, in order"),
    ("applied index goes back", "apply once, in order"),
)
"""Words of raftlog's own invariants, and the property that each of them guards."""
_OWN_INVARIANT = (
    "raftlog's own code noticed that one of its rules was broken, and would stop the node: nothing "
    "may go on from a state that cannot be"
)


def why(failure: str) -> str | None:
    """Return why the property that `failure` names matters, if it names one."""
    name = failure.partition(":")[0]
    if name != "InvariantBroken":
        return WHY.get(name)
    guarded = next((name for words, name in NOTICED if words in failure), None)
    return _OWN_INVARIANT if guarded is None else WHY[guarded]
