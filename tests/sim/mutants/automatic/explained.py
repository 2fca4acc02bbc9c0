"""Survivors: mutants that no check can find, and why.

Most of them change nothing that can be seen. The others change how soon something is done, never
what is done.
"""

from __future__ import annotations

EXPLAINED: dict[str, str] = {
    "log:RaftLog.entry:one-less:2": "A read of one index returns one entry: it is first and last.",
    "log:RaftLog.compacted:boundary:2": "Dropping no entries from the cache drops none.",
    "log:RaftLog.mark_stable:boundary:1": (
        "Marking the same index again marks nothing; at most the cache is trimmed a call earlier."
    ),
    "election:_count:guard-dropped:1": (
        "Only (pre-)candidates count votes, and an invariant gives each of them a candidacy: the "
        "guard is for the type checker."
    ),
    "replication:wake_probe:operand-dropped:2": (
        "A probe that is not paused leaves with the next Ready in any case."
    ),
    "commit:learn_commit:boundary:2": "Of one membership there is no older one to forget.",
    "progress:Progress.__init__:one-more:2": (
        "The first AppendRequest to a peer sets it, and until a peer has acked one there is "
        "nothing of which it could be given notice."
    ),
    "storage.lmdb.layout:decode_index:one-less:1": (
        "What is unpacked is a tuple of one: it is first and last."
    ),
    "client.backup:_Receiving._flush:one-more:1": (
        "Pieces are joined for one write a byte earlier; what is written is the same."
    ),
    "client.backup:_Receiving._flush:one-less:1": (
        "Pieces are joined for one write a byte later; what is written is the same."
    ),
    "storage.lmdb.disk:DiskGuard.make_reserve:operand-dropped:2": (
        "A file of no bytes cannot be allocated: the try fails, and its file is removed."
    ),
    "storage.lmdb.environment:adopt_data:other-operator:1": (
        "O_RDONLY is no flag: the descriptor, closed three lines below, is open for reading."
    ),
    "storage.lmdb.hard_state:MetaStore.read_log_bytes:one-less:1": (
        "What is unpacked is a tuple of one: it is first and last."
    ),
    "storage.lmdb.log:LmdbLog._first_cached:one-more:3": (
        "Less is read from the disk in one go, and the rest in the next."
    ),
    "storage.lmdb.log:LmdbLog._position:guard-dropped:1": (
        "What is known of the last entry without looking is what its record says."
    ),
    "storage.lmdb.log:LmdbLog._header:statement-dropped:1": (
        "A record that is gone is looked for twice, and the second look asks whether it is kept."
    ),
    "storage.lmdb.store:_write_first_records:other-boolean:2": (
        "Whether a transaction reads into copies or views matters to nobody: this one only writes."
    ),
    "rpc.peer:_Encoder.__init__:statement-dropped:1": (
        "The bytes are read only for the message that they were made of, and None is none."
    ),
    "rpc.peer:GrpcTransport._is_another_directory:element-dropped:1": (
        "A peer whose directory is not known has no stream here that could be ended."
    ),
    "rpc.snapshots:_Sending.__init__:one-more:1": (
        "The receiver's first ack says where to begin, before anything is sent or compared."
    ),
    "rpc.snapshots:Receiver.__init__:one-more:1": (
        "The term is compared only while a snapshot comes in, which has set it."
    ),
    "rpc.access:served:check-dropped:1": (
        "gRPC makes no handler without a function: the line is for the type checker."
    ),
    "rpc.server:GrpcServer.stop:statement-dropped:3": (
        "A second stop cancels and waits for a task that has ended, which does nothing."
    ),
    "node.writes:Writes.propose_session:one-less:1": (
        "A disk is full for an entry of no bytes where it is for one of less."
    ),
    "node.transfers:Transfers.transfer:check-dropped:1": (
        "The core leaves a record of each transfer that it begins: the check is for the type "
        "checker."
    ),
    "node.leadership:Leadership.noop_applied:operand-dropped:1": (
        "What is noted while another member leads is forgotten when this one begins to."
    ),
    "node.fitness:Fitness.__init__:one-less:1": "Nobody is handed leadership in term 0.",
    "node.fitness:Fitness._has_quorum:one-more:1": (
        "Who has room counts as holding anything at all: a quorum holds at least as much."
    ),
    "node.preference:Preference._match:one-less:1": (
        "Whoever is due was seen fit by its progress: the case is for the type checker."
    ),
    "node.clocks:ClockWatch.__init__:one-less:3": (
        "The first look sets it to nought: what was late before it is nothing."
    ),
    "machines.kv.leases:LeaseKeeper.__init__:statement-dropped:3": (
        "It is read only once a look has found a lease, and that look sets it."
    ),
    "machines.kv.leases:LeaseKeeper._scan:boundary:1": (
        "The shortest time is the same, whichever of two leases of that time sets it."
    ),
    "client.write_stream:Writer._new_batch:one-more:1": (
        "Places among the batches of a client are compared, never counted."
    ),
    "client.write_stream:Writer._read:operand-dropped:5": (
        "Where nothing is pending nobody needs the next session yet; whoever comes wakes the "
        "sender."
    ),
    "node.housekeeping:Housekeeping._scrubbed:one-more:1": "A log begins at index 1.",
    "node.snapshotter:Snapshotter._hold_index:one-more:1": (
        "The snapshot that is being taken for a member covers the first entry, if any."
    ),
    "client.session:Batch.take:one-less:1": (
        "By whichever of its streams a batch is called, it packs the same bytes."
    ),
    "client.session:SentGroup.__init__:statement-dropped:7": (
        "It is read of a group that is open, and to send it, which opens it, sets it."
    ),
    "client.routing:AddressBook.__init__:one-less:1": (
        "No term is below 0: the first word is taken in either case."
    ),
    "client.routing:AddressBook.doubt:one-less:1": (
        "No term is below 0: the next word is taken in either case."
    ),
    "client.routing:AddressBook.learn_hint:operand-dropped:2": (
        "An address is listed once, whoever named it, and a new membership forgets every hint."
    ),
    "client.connections:Connections._look_again:one-less:1": (
        "A timeout that is over is over, whether since now or for a second."
    ),
    "client.connections:Connections.newest_leader:operand-dropped:2": (
        "Who is ready names a leader, and of two clusters with a leader none is settled on."
    ),
    "client.connections:Connections.ask_member:one-more:1": (
        "Of whoever is asked by its name only the address is used."
    ),
    "client.connections:Connections._find:one-less:2": (
        "To wait for less than nothing is to wait for nothing."
    ),
    "client.changes:change:guard-dropped:3": (
        "The next search for a leader has no time left, and says the same a pause later."
    ),
    "client.changes:change:boundary:1": (
        "The next search for a leader has no time left, and says the same a pause later."
    ),
    "client.changes:change:check-dropped:4": (
        "The next search for a leader has no time left, and says the same a pause later."
    ),
    "client.members:_change:boundary:1": (
        "Where a pause ends at the deadline itself no time is left for another attempt."
    ),
    "client.subscription:Subscription.__init__:statement-dropped:9": (
        "It is set before anything is read, and read by nothing before."
    ),
    "client.tail:Tail._open:operand-dropped:2": "A number that is left out is 0 on the wire.",
    "storage.lmdb.installation:Installations.drop_covered:other-connective:1": (
        "With the lock it is asked again whether a file lies ready, and is covered."
    ),
    "storage.lmdb.tables:LmdbTables.get:statement-dropped:1": (
        "CPython ends a transaction that nobody holds any more as the call returns."
    ),
    "node.interests:_Keys.add:other-operator:2": (
        "A length of which no prefix is left is looked for in vain, until nobody waits for the "
        "table."
    ),
    "node.lookout:Lookout.__init__:one-more:1": "The first reader that parks says where to begin.",
    "node.members:_next:one-less:2": "Of one step the first is the last.",
    "node.members:Members._told:operand-dropped:2": "Without a flag it is the empty text already.",
    "node.reads:ReadQueue.applied:statement-dropped:1": (
        "Where nobody waits nobody is let go: the guard saves the question how much is applied."
    ),
    "node.applier:_never:other-boolean:1": (
        "On the machine's thread a batch is run through its pauses to its end."
    ),
    "node.workbench:ApplyState.answer:boundary:1": (
        "Whether the bound is passed is asked again by the check, which then lets it be."
    ),
    "node.workbench:Budget.discard:other-boolean:1": (
        "Bounds and what a command began with are four of each, written side by side."
    ),
}
