"""Generated from raftlog/client by raftlog._tools.gensync; do not edit.

The async client's calls without await: the same names, parameters and contracts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from os import PathLike
from typing import Self

from raftlog import kv as words
from raftlog.client.alarms import AlarmReport
from raftlog.client.backup import Backup
from raftlog.client.cluster import Cluster
from raftlog.client.consumer import ConsumerVerbs
from raftlog.client.context import Payload
from raftlog.client.kv import Kv
from raftlog.client.lease import Lease
from raftlog.client.lock import Election, Lock
from raftlog.client.log import Log, LogSession, SessionState
from raftlog.client.log_ends import LogEnds
from raftlog.client.loop_thread import LoopThread, SyncFeed
from raftlog.client.machine import Machine
from raftlog.client.members import MemberVerbs
from raftlog.client.values import (
    Applied,
    BackupEntries,
    BackupProgress,
    BackupReceipt,
    Campaigning,
    Change,
    DeleteResult,
    Diagnostics,
    Drained,
    KeyValue,
    LeaseStatus,
    LevelRaise,
    LogInfo,
    MachineUpgrade,
    MembershipChange,
    NodeSetting,
    Origin,
    Outcome,
    Paused,
    PutResult,
    Receipt,
    Reign,
    Snapshot,
    SnapshotProgress,
    StreamStatus,
    SwapResult,
    Transaction,
    Transfer,
)
from raftlog.errors import LeaderHint
from raftlog.status import ClusterStatus, ConsumerStatus
from raftlog.types import Consistency


class SyncLease:
    """`raftlog.client.lease.Lease` without await."""

    def __init__(self, loop: LoopThread, target: Lease) -> None:
        self._loop = loop
        self._target: Lease = target

    @property
    def lease_id(self) -> int:
        """Return the lease's id."""
        return self._target.lease_id

    @property
    def ttl_seconds(self) -> float:
        """Return how long it lives without a refresh."""
        return self._target.ttl_seconds

    @property
    def is_lost(self) -> bool:
        """Whether the lease has ended, or may have by this machine's clock."""
        return self._target.is_lost

    def __int__(self) -> int:
        return int(self._target)

    def refresh(self, *, timeout: float | None = None) -> None:
        """Start the lease's time anew.

        Raises:
            Rejected: it has ended.
        """
        self._loop.call(self._target.refresh, timeout=timeout)

    def revoke(self, *, timeout: float | None = None) -> None:
        """End the lease now; the keys put with it vanish.

        Raises:
            Rejected: it has ended already.
        """
        self._loop.call(self._target.revoke, timeout=timeout)

    def end(self) -> None:
        """Revoke the lease if that can be done before it ends by itself; raises nothing."""
        self._loop.call(self._target.end)

    def wait_lost(self) -> None:
        """Wait until the lease is known to have ended, by `revoke` or by its time."""
        self._loop.call(self._target.wait_lost)

    def keep_alive(self) -> None:
        """Refresh in the background from now on, until it is revoked or lost."""
        self._loop.run(self._target.keep_alive)

    def __enter__(self) -> Self:
        self._loop.call(self._target.__aenter__)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call(self._target.__aexit__, *_exception)


class SyncLock:
    """`raftlog.client.lock.Lock` without await."""

    def __init__(self, loop: LoopThread, target: Lock) -> None:
        self._loop = loop
        self._target: Lock = target

    @property
    def name(self) -> str:
        """Return the lock's name."""
        return self._target.name

    @property
    def token(self) -> int:
        """Return the fencing token: the revision at which the lock was won.

        Raises:
            InvalidInput: it is not held.
        """
        return self._target.token

    @property
    def held(self) -> words.Revision:
        """Return the condition, for a kv transaction, that this holder still has the lock."""
        return self._target.held

    @property
    def is_held(self) -> bool:
        """Whether it was won and is not lost, by this machine's clock."""
        return self._target.is_held

    @property
    def is_lost(self) -> bool:
        """Whether it was held and may be somebody else's by now."""
        return self._target.is_lost

    def wait_lost(self) -> None:
        """Wait until the lock is lost or released."""
        self._loop.call(self._target.wait_lost)

    def acquire(self, *, timeout: float | None = None) -> int:
        """Wait until the lock is won; return its token. Without `timeout` it waits for ever.

        Raises:
            Unavailable: somebody held it for the whole time.
            InvalidInput: it is held by this object already.
        """
        return self._loop.call(self._target.acquire, timeout=timeout)

    def release(self) -> None:
        """Give the lock up. Takes no longer than its time to live: then it ends by itself."""
        self._loop.call(self._target.release)

    def __enter__(self) -> Self:
        self._loop.call(self._target.__aenter__)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call(self._target.__aexit__, *_exception)


class SyncElection(SyncLock):
    """`raftlog.client.lock.Election` without await."""

    def __init__(self, loop: LoopThread, target: Election) -> None:
        super().__init__(loop, target)
        self._target: Election = target

    def leader(self, *, timeout: float | None = None) -> KeyValue | None:
        """Return the leader: its value, and as `revision` its token; None if there is none."""
        return self._loop.call(self._target.leader, timeout=timeout)


class SyncLogSession:
    """`raftlog.client.log.LogSession` without await."""

    def __init__(self, loop: LoopThread, target: LogSession) -> None:
        self._loop = loop
        self._target: LogSession = target

    @property
    def state(self) -> SessionState:
        """Return where the session stands; it moves on with every answered group."""
        return self._target.state

    def append(
        self, payloads: Sequence[Payload], *, stream: str = "", timeout: float | None = None
    ) -> list[Receipt]:
        """Append one group, exactly once also across processes.

        After an error that is not definite only a resumed session may go on, with the same
        payloads.

        Raises:
            InvalidInput: the group is empty or too large, or another one is under way.
            SessionExpired: the session is gone; an attempt of an earlier process may have happened.
        """
        return self._loop.call(self._target.append, payloads, stream=stream, timeout=timeout)

    def close(self) -> None:
        """Stop sending; the session itself stays until it expires."""
        self._loop.call(self._target.close)

    def __enter__(self) -> Self:
        self._loop.call(self._target.__aenter__)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call(self._target.__aexit__, *_exception)


class SyncConsumerVerbs:
    """`raftlog.client.consumer.ConsumerVerbs` without await."""

    def __init__(self, loop: LoopThread, target: ConsumerVerbs) -> None:
        self._loop = loop
        self._target: ConsumerVerbs = target

    def consumers(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> list[ConsumerStatus]:
        """Return the named consumers, with how far each has come and lags behind.

        The leader is asked, who knows best; with `member` that member, which may know less.
        """
        return self._loop.call(self._target.consumers, member=member, timeout=timeout)

    def delete_consumer(self, name: str, *, timeout: float | None = None) -> bool:
        """Forget a consumer; return whether there was one.

        The log is kept for it no longer. Where an answer was lost, that was asked again, and it
        may have been there before.

        Who reads under its name gets `NotFound` at the next commit.
        """
        return self._loop.call(self._target.delete_consumer, name, timeout=timeout)


class SyncLog(SyncConsumerVerbs):
    """`raftlog.client.log.Log` without await."""

    def __init__(self, loop: LoopThread, target: Log) -> None:
        super().__init__(loop, target)
        self._target: Log = target

    def append(
        self, payload: Payload, *, stream: str = "", timeout: float | None = None
    ) -> Receipt:
        """Append one opaque transaction, exactly once, and return its place in the log.

        Raises:
            Unavailable: no leader took it in time; it did not happen.
            Indeterminate: it was sent and no answer came in time; it may have happened.
            Overloaded: too much is pending, here or at the leader; it did not happen.
        """
        return self._loop.call(self._target.append, payload, stream=stream, timeout=timeout)

    def append_many(
        self, payloads: Sequence[Payload], *, stream: str = "", timeout: float | None = None
    ) -> list[Receipt]:
        """Append transactions in order, in as few groups as their sizes allow.

        A group is not atomic. If some of several groups were taken and others not, the error is
        indefinite.
        """
        return self._loop.call(self._target.append_many, payloads, stream=stream, timeout=timeout)

    def tail(
        self,
        after: int | None = None,
        *,
        last: int | None = None,
        since: datetime | float | None = None,
        from_now: bool = False,
        stream: str | None = None,
        follow: bool = True,
        commands: bool = False,
        consumer: str | None = None,
        auto_commit: bool = True,
        member: str | None = None,
        timeout: float | None = None,
    ) -> SyncFeed[Transaction]:
        """Yield committed transactions, across failovers, without gap or repeat.

        Args:
            after: The last sequence already seen; without this and the next three, from the
                oldest transaction kept.
            last: Begin so many matching transactions before the end.
            since: Begin at this time, by the leaders' clocks: a datetime, or seconds since 1970.
            from_now: Begin behind the newest transaction (what this client appends later is seen;
                `Feed.begun` tells when others may).
            stream: Only this stream; None: all of them.
            follow: Wait for more at the end; else stop at what the member knows committed.
            commands: Also transactions meant for the state machine.
            consumer: Read under this name: the position is kept in the log, and a reader of the
                same name goes on there, on any member. The beginning counts where the name is new.
            auto_commit: Count what was handed out as processed once the next one is asked for, and
                keep that within a second; else `Feed.commit` does.
            member: Ask this member alone.
            timeout: How long all members may be away before it raises `Unavailable`.

        Raises:
            InvalidInput: more than one beginning is given, or one that cannot be.
            Compacted: every member purged what comes next, or `member` did; it names the oldest
                kept.
            Unavailable: nobody answered for so long, or not who may still have what comes next.
            ConsumerMoved: the consumer was reset meanwhile.
        """
        return self._loop.feed_of_batches(
            lambda: self._target.tail_batches(
                after,
                last=last,
                since=since,
                from_now=from_now,
                stream=stream,
                follow=follow,
                commands=commands,
                consumer=consumer,
                auto_commit=auto_commit,
                member=member,
                timeout=timeout,
            )
        )

    def tail_batches(
        self,
        after: int | None = None,
        *,
        last: int | None = None,
        since: datetime | float | None = None,
        from_now: bool = False,
        stream: str | None = None,
        follow: bool = True,
        commands: bool = False,
        consumer: str | None = None,
        auto_commit: bool = True,
        member: str | None = None,
        timeout: float | None = None,
    ) -> SyncFeed[list[Transaction]]:
        """Do what `tail` does, but yield transactions as they arrive together."""
        return self._loop.feed(
            lambda: self._target.tail_batches(
                after,
                last=last,
                since=since,
                from_now=from_now,
                stream=stream,
                follow=follow,
                commands=commands,
                consumer=consumer,
                auto_commit=auto_commit,
                member=member,
                timeout=timeout,
            )
        )

    def reset_consumer(
        self,
        name: str,
        after: int | None = None,
        *,
        last: int | None = None,
        since: datetime | float | None = None,
        from_now: bool = False,
        timeout: float | None = None,
    ) -> ConsumerStatus:
        """Move a named consumer, back or forth; without a place, to the oldest transaction kept.

        Who reads under its name gets `ConsumerMoved` at the next commit, and begins anew.

        Raises:
            NotFound: there is no consumer of that name.
            Compacted: what lies behind `after` was purged.
        """
        return self._loop.call(
            self._target.reset_consumer,
            name,
            after,
            last=last,
            since=since,
            from_now=from_now,
            timeout=timeout,
        )

    def get(
        self, sequence: int, *, member: str | None = None, timeout: float | None = None
    ) -> Transaction:
        """Return one committed transaction.

        Any member answers; what the first one does not know yet is asked of the leader, which knows
        everything acknowledged. With `member`, only what that member knows counts.

        Raises:
            NotFound: there is none of that number yet.
            Compacted: every member purged it, or `member` did.
            Unavailable: one that may still have it gave no answer in time.
        """
        return self._loop.call(self._target.get, sequence, member=member, timeout=timeout)

    def info(self, *, member: str | None = None, timeout: float | None = None) -> LogInfo:
        """Return the extent of the log, as the member that answers knows it."""
        return self._loop.call(self._target.info, member=member, timeout=timeout)

    def streams(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> Iterator[StreamStatus]:
        """Yield the named streams in the log, as the member that answers has it.

        They are read page by page, from one member; `timeout` is for each page.
        """
        return self._loop.iterate(lambda: self._target.streams(member=member, timeout=timeout))

    def open_session(self, *, timeout: float | None = None) -> SyncLogSession:
        """Open a session that a later process can take up again with `resume_session`."""
        return SyncLogSession(
            self._loop, self._loop.call(self._target.open_session, timeout=timeout)
        )

    def resume_session(self, state: SessionState) -> SyncLogSession:
        """Take up a session where it stood; the next group must be the one that was under way.

        Raises:
            InvalidInput: the state can be none of a session.
        """
        return SyncLogSession(self._loop, self._loop.run(self._target.resume_session, state))


class SyncKv:
    """`raftlog.client.kv.Kv` without await."""

    def __init__(self, loop: LoopThread, target: Kv) -> None:
        self._loop = loop
        self._target: Kv = target

    def put(
        self, key: bytes, value: bytes, *, lease: SyncLease | int = 0, timeout: float | None = None
    ) -> PutResult:
        """Set a key. With a lease, it vanishes when the lease ends.

        Raises:
            Rejected: there is no such lease.
        """
        return self._loop.call(self._target.put, key, value, lease=int(lease), timeout=timeout)

    def delete(
        self, key: bytes, *, end: bytes | None = None, timeout: float | None = None
    ) -> DeleteResult:
        """Remove a key, or with `end` every key from `key` up to but without `end`."""
        return self._loop.call(self._target.delete, key, end=end, timeout=timeout)

    def compare_and_swap(
        self,
        key: bytes,
        value: bytes,
        *,
        revision: int,
        lease: SyncLease | int = 0,
        timeout: float | None = None,
    ) -> SwapResult:
        """Set a key if its revision is exactly `revision`; 0: if it does not exist."""
        return self._loop.call(
            self._target.compare_and_swap,
            key,
            value,
            revision=revision,
            lease=int(lease),
            timeout=timeout,
        )

    def transaction(
        self,
        *,
        when: Sequence[words.Condition] = (),
        then: Sequence[words.Operation] = (),
        otherwise: Sequence[words.Operation] = (),
        timeout: float | None = None,
    ) -> Outcome:
        """Do `then` if all of `when` hold, else `otherwise`, at one revision.

        The words are in `raftlog.kv`.
        """
        return self._loop.call(
            self._target.transaction, when=when, then=then, otherwise=otherwise, timeout=timeout
        )

    def lease(self, *, ttl_seconds: float, timeout: float | None = None) -> SyncLease:
        """Grant a lease: keys put with it vanish when it ends.

        It lives `ttl_seconds` from the last refresh. As an async context manager it refreshes
        itself and is revoked at the end.
        """
        return SyncLease(
            self._loop,
            self._loop.call(self._target.lease, ttl_seconds=ttl_seconds, timeout=timeout),
        )

    def attach_lease(self, lease_id: int, *, ttl_seconds: float) -> SyncLease:
        """Return a handle on a lease that is already there, say one granted elsewhere."""
        return SyncLease(self._loop, self._target.attach_lease(lease_id, ttl_seconds=ttl_seconds))

    def lock(self, name: str, *, ttl_seconds: float = 10.0) -> SyncLock:
        """Return a named lock, which its context manager or `acquire` wins.

        `lock.token` is the revision at which it was won: this fences. A holder that is cut off
        loses it `ttl_seconds` after its last refresh, and knows so by then.
        """
        return SyncLock(
            self._loop, self._loop.run(self._target.lock, name, ttl_seconds=ttl_seconds)
        )

    def election(self, name: str, *, value: bytes = b"", ttl_seconds: float = 10.0) -> SyncElection:
        """Return a lock whose holder leads something, and shows `value` to those who ask."""
        return SyncElection(
            self._loop,
            self._loop.run(self._target.election, name, value=value, ttl_seconds=ttl_seconds),
        )

    def get(
        self,
        key: bytes,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """Return a key as it stands, or None."""
        return self._loop.call(
            self._target.get, key, consistency=consistency, member=member, timeout=timeout
        )

    def range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes = b"",
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        keys_only: bool = False,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[KeyValue]:
        """Yield the keys with a prefix, or from `start` up to but without `end`, in key order.

        Long ranges are read page by page; each page is consistent in itself. `timeout` is for each
        page.
        """
        return self._loop.iterate(
            lambda: self._target.range(
                prefix=prefix,
                start=start,
                end=end,
                limit=limit,
                reverse=reverse,
                keys_only=keys_only,
                consistency=consistency,
                member=member,
                timeout=timeout,
            )
        )

    def count(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes = b"",
        end: bytes | None = None,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Return how many keys there are in a range.

        Many keys are counted page by page; each page is consistent in itself. `timeout` is for the
        whole count.
        """
        return self._loop.call(
            self._target.count,
            prefix=prefix,
            start=start,
            end=end,
            consistency=consistency,
            member=member,
            timeout=timeout,
        )

    def lease_status(
        self,
        lease: SyncLease | int,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> LeaseStatus:
        """Return what is left of a lease and the keys put with it.

        Raises:
            NotFound: it has ended, or never was.
        """
        return self._loop.call(
            self._target.lease_status,
            int(lease),
            consistency=consistency,
            member=member,
            timeout=timeout,
        )

    def leases(
        self,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[LeaseStatus]:
        """Yield all leases by their ids, without their keys.

        They are read page by page; `timeout` is for each page.
        """
        return self._loop.iterate(
            lambda: self._target.leases(consistency=consistency, member=member, timeout=timeout)
        )

    def watch(
        self,
        key: bytes | None = None,
        *,
        prefix: bytes | None = None,
        start: bytes = b"",
        end: bytes | None = None,
        after_revision: int | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> SyncFeed[Change]:
        """Yield every change of a key, a prefix or a range, in order, across failovers.

        Args:
            key: This key alone.
            prefix: Keys with this prefix.
            start: With `end`, keys from `start` up to but without `end`.
            end: See `start`.
            after_revision: Changes after it; 0: from the beginning; None: from now on (what this
                client writes later is seen; `Feed.begun` tells when others may write).
            member: Ask this member alone.
            timeout: How long all members may be away before it raises `Unavailable`.

        Raises:
            Compacted: every member purged changes after `after_revision`, or `member` did.
        """
        return self._loop.feed(
            lambda: self._target.watch(
                key,
                prefix=prefix,
                start=start,
                end=end,
                after_revision=after_revision,
                member=member,
                timeout=timeout,
            )
        )


class SyncMachine:
    """`raftlog.client.machine.Machine` without await."""

    def __init__(self, loop: LoopThread, target: Machine) -> None:
        self._loop = loop
        self._target: Machine = target

    def execute(self, command: Payload, *, timeout: float | None = None) -> bytes:
        """Replicate and apply a command, exactly once, and return the machine's answer.

        Raises:
            Rejected: the machine refused it; it had no effect.
        """
        return self._loop.call(self._target.execute, command, timeout=timeout)

    def submit(self, command: Payload, *, timeout: float | None = None) -> Applied:
        """Do what `execute` does, and return the command's place in the log as well."""
        return self._loop.call(self._target.submit, command, timeout=timeout)

    def query(
        self,
        request: Payload,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Ask the machine; linearizable unless `consistency` asks for less.

        With `member` that member answers, by default after asking the leader for a read index.
        """
        return self._loop.call(
            self._target.query, request, consistency=consistency, member=member, timeout=timeout
        )

    def upgrade(
        self, version: int | None = None, *, dry_run: bool = False, timeout: float | None = None
    ) -> MachineUpgrade:
        """Raise the machine's version in force, once every member with a machine has its code.

        None: to the newest version that the leader's code has. Every command behind the entry that
        raises it is applied as that version, on every member. With `dry_run` all is checked, and
        nothing is written. To ask again is safe: what is in force already changes nothing.

        Raises:
            SafetyRefused: a member lacks the code or cannot be asked (the message names all of
                them), or the version is below the one in force.
            Indeterminate: the answer did not come in time; ask again.
        """
        return self._loop.call(self._target.upgrade, version, dry_run=dry_run, timeout=timeout)


class SyncMemberVerbs:
    """`raftlog.client.members.MemberVerbs` without await."""

    def __init__(self, loop: LoopThread, target: MemberVerbs) -> None:
        self._loop = loop
        self._target: MemberVerbs = target

    def add_member(
        self,
        node_id: str,
        address: str,
        *,
        promote: bool = True,
        witness: bool | None = None,
        region: str | None = None,
        priority: int | None = None,
        banned: bool | None = None,
        instance_id: str = "",
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Add a member as a learner, and with `promote` as a voter once it has caught up.

        It may run already or be started later (``raftlog serve --join``). A witness votes and
        stores the log, and never leads; None keeps what it is. `priority`, `banned`: as
        `update_member`. `instance_id`: its data directory, where that is known.

        Raises:
            MembershipRejected: it is a member by another data directory, or not as it says; or
                another member is reached at that address.
            Indeterminate: the answer did not come in time; ask again.
        """
        return self._loop.call(
            self._target.add_member,
            node_id,
            address,
            promote=promote,
            witness=witness,
            region=region,
            priority=priority,
            banned=banned,
            instance_id=instance_id,
            version=version,
            dry_run=dry_run,
            force=force,
            timeout=timeout,
        )

    def origin(self, *, member: str | None = None, timeout: float | None = None) -> Origin:
        """Return how the cluster began, by any one member unless `member` names it."""
        return self._loop.call(self._target.origin, member=member, timeout=timeout)

    def remove_member(
        self,
        node_id: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Remove a member for good; one that leads hands over first.

        Its data directory never becomes a member again: the machine comes back with an empty one.

        Raises:
            MembershipRejected: the voters that would remain could not decide anything.
            Indeterminate: the answer did not come in time; ask again.
        """
        return self._loop.call(
            self._target.remove_member,
            node_id,
            version=version,
            dry_run=dry_run,
            force=force,
            timeout=timeout,
        )

    def promote_member(
        self,
        node_id: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Make a learner a voter now.

        Raises:
            MembershipRejected: it lacks much of the log, cannot be reached, or is no member.
            Indeterminate: the answer did not come in time; ask again.
        """
        return self._loop.call(
            self._target.promote_member,
            node_id,
            version=version,
            dry_run=dry_run,
            force=force,
            timeout=timeout,
        )

    def demote_member(
        self,
        node_id: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Make a voter a learner; one that leads hands over first. Raises as `remove_member`."""
        return self._loop.call(
            self._target.demote_member,
            node_id,
            version=version,
            dry_run=dry_run,
            force=force,
            timeout=timeout,
        )

    def update_member(
        self,
        node_id: str,
        *,
        address: str | None = None,
        region: str | None = None,
        priority: int | None = None,
        banned: bool | None = None,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Record another address, region, priority or ban of a member. None keeps what is there.

        A leader hands over by itself to a member with a higher priority (1 to 1000, by default 100)
        that has been fit for a while. A banned member votes, and leads only where nobody else
        could; one that leads hands over first.

        Raises:
            MembershipRejected: it is no member, or runs and says another address of itself; another
                member is reached at the address; or nobody would be left who should lead.
            SafetyRefused: the cluster's feature level knows no priorities and bans.
            Indeterminate: the answer did not come in time; ask again.
        """
        return self._loop.call(
            self._target.update_member,
            node_id,
            address=address,
            region=region,
            priority=priority,
            banned=banned,
            version=version,
            dry_run=dry_run,
            force=force,
            timeout=timeout,
        )

    def replace_member(
        self,
        old: str,
        new: str,
        *,
        version: int = 0,
        dry_run: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> MembershipChange:
        """Make the learner `new` a voter in the place of `old`, which is removed, in one change.

        Raises:
            MembershipRejected: `new` is no member yet, or lacks much of the log; or the quorum
                would be lost.
            Indeterminate: the answer did not come in time; ask again.
        """
        return self._loop.call(
            self._target.replace_member,
            old,
            new,
            version=version,
            dry_run=dry_run,
            force=force,
            timeout=timeout,
        )


class SyncCluster(SyncMemberVerbs):
    """`raftlog.client.cluster.Cluster` without await."""

    def __init__(self, loop: LoopThread, target: Cluster) -> None:
        super().__init__(loop, target)
        self._target: Cluster = target

    def status(self, *, member: str | None = None, timeout: float | None = None) -> ClusterStatus:
        """Return the cluster as the leader knows it, or without one any live node.

        With `member` that member is asked alone. A live node answers at once, so silence is taken
        for an answer after two seconds, whatever the timeout.
        """
        return self._loop.call(self._target.status, member=member, timeout=timeout)

    def leader(self, *, timeout: float | None = None) -> LeaderHint:
        """Return who leads and takes writes.

        Raises:
            Unavailable: nobody does.
        """
        return self._loop.call(self._target.leader, timeout=timeout)

    def transfer(
        self, to: str | None = None, *, mock: bool = True, timeout: float | None = None
    ) -> Transfer:
        """Hand leadership to a member, by default to the most caught-up one that can take it.

        First a mock election (`mock`) proves that the member would win and could commit; it changes
        nothing. Then the member catches up while writes go on. Only then do writes stop, until it
        leads. Where it leads already, nothing is done: `source` and `target` are the same.

        Raises:
            SafetyRefused: the member may not lead, or would not win; it did not happen.
            Unavailable: it was given up; `definite` says whether it may happen yet.
            Indeterminate: the answer did not come in time.
        """
        return self._loop.call(self._target.transfer, to, mock=mock, timeout=timeout)

    def cancel_transfer(self, *, timeout: float | None = None) -> bool:
        """Give up the transfer under way; return whether there was one.

        If this returns, no transfer that was under way happens.

        Raises:
            Indeterminate: the member was told to take over already, and may do so yet.
        """
        return self._loop.call(self._target.cancel_transfer, timeout=timeout)

    def history(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> tuple[Reign, ...]:
        """Return who led when and why it changed, oldest first, of all members put together.

        Each member keeps the newest ones in memory, and forgets them when it is restarted. With
        `member` that one is asked alone.
        """
        return self._loop.call(self._target.history, member=member, timeout=timeout)

    def pause_elections(self, seconds: float, *, timeout: float | None = None) -> Paused:
        """Let no member stand for election for so long, at most a day.

        A leader goes on leading. One that fails meanwhile is not replaced before the pause is over.
        """
        return self._loop.call(self._target.pause_elections, seconds, timeout=timeout)

    def resume_elections(self, *, timeout: float | None = None) -> Paused:
        """End a pause of elections at every member."""
        return self._loop.call(self._target.resume_elections, timeout=timeout)

    def set_campaigning(
        self, member: str, *, may_campaign: bool, timeout: float | None = None
    ) -> Campaigning:
        """Forbid or allow a member to stand for election; it holds across restarts."""
        return self._loop.call(
            self._target.set_campaigning, member, may_campaign=may_campaign, timeout=timeout
        )

    def drain(self, member: str, *, timeout: float | None = None) -> Drained:
        """Prepare a member for a restart, and return whether it is safe to stop it now.

        It stands for no election until it is restarted, and hands leadership over if it leads.
        """
        return self._loop.call(self._target.drain, member, timeout=timeout)

    def undrain(self, member: str, *, timeout: float | None = None) -> Campaigning:
        """Let a drained member stand for election again."""
        return self._loop.call(self._target.undrain, member, timeout=timeout)

    def upgrade(
        self, level: int | None = None, *, dry_run: bool = False, timeout: float | None = None
    ) -> LevelRaise:
        """Raise the cluster's feature level, once every member can read it.

        None: to the highest that the leader can read. From then on what the level brings may be
        written, and an older raftlog cannot come back. With `dry_run` all is checked, and nothing
        is written. To ask again is safe: what is in force already changes nothing.

        Raises:
            SafetyRefused: a member cannot read the level or cannot be asked (the message names all
                of them), or the level is below the one in force.
            Indeterminate: the answer did not come in time; ask again.
        """
        return self._loop.call(self._target.upgrade, level, dry_run=dry_run, timeout=timeout)

    def step_down(self, *, timeout: float | None = None) -> None:
        """Make the leader stop leading, without choosing a successor.

        Raises:
            SafetyRefused: elections are paused, so nobody would lead.
        """
        self._loop.call(self._target.step_down, timeout=timeout)

    def settings(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> tuple[NodeSetting, ...]:
        """Return the settings of a node that runs, of any one unless `member` names it.

        Numbers are seconds and bytes. What is secret is left out.
        """
        return self._loop.call(self._target.settings, member=member, timeout=timeout)

    def take_snapshot(
        self,
        *,
        member: str | None = None,
        progress: SnapshotProgress | None = None,
        timeout: float | None = None,
    ) -> Snapshot:
        """Take a snapshot while writes go on, on a follower unless `member` names one.

        `progress` is told the bytes written, now and then. To ask again joins what is under way.

        Raises:
            SafetyRefused: the member is a witness, and has no state.
            Indeterminate: it is not done in time, and perhaps goes on.
            Unavailable: the member could not be asked.
        """
        return self._loop.call(
            self._target.take_snapshot, member=member, progress=progress, timeout=timeout
        )

    def snapshots(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> tuple[Snapshot, ...]:
        """Return the snapshots that a member holds, any one unless `member` names it."""
        return self._loop.call(self._target.snapshots, member=member, timeout=timeout)

    def alarms(self, *, member: str | None = None, timeout: float | None = None) -> AlarmReport:
        """Return the alarms that members have raised, of all that answer or of the one named.

        Each says since when, why, what it means and what to do. Members that do not answer within a
        second are named as silent.
        """
        return self._loop.call(self._target.alarms, member=member, timeout=timeout)

    def log_ends(self, *, timeout: float | None = None) -> LogEnds:
        """Return where the log of each member that answers ends, by its own word.

        Nobody needs to lead. It tells what is left when a quorum is lost: `raftlog recover inspect`
        ranks it.

        Raises:
            Unavailable: nobody answers.
        """
        return self._loop.call(self._target.log_ends, timeout=timeout)

    def diagnostics(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> Diagnostics:
        """Return what a node tells whoever looks into a fault, any one unless `member` names it.

        Its status, settings, metrics, recent events, the stacks of its tasks and threads, and its
        versions. No payload and no secret is in it.
        """
        return self._loop.call(self._target.diagnostics, member=member, timeout=timeout)


class SyncBackup:
    """`raftlog.client.backup.Backup` without await."""

    def __init__(self, loop: LoopThread, target: Backup) -> None:
        self._loop = loop
        self._target: Backup = target

    def create(
        self,
        path: str | PathLike[str],
        *,
        member: str | None = None,
        rate: float = 0.0,
        progress: BackupProgress | None = None,
        timeout: float | None = None,
    ) -> BackupReceipt:
        """Make a backup of what is committed now, while writes go on, and write it to `path`.

        It is taken from `member`, by default from the follower that lags least. `rate` bounds the
        bytes per second, 0 does not. `progress` is told the bytes written and about how many there
        will be. The timeout is for finding a member, not for the backup. The file has its name only
        once it is whole and on disk.

        Raises:
            InvalidInput: there is a file of that name already.
            SafetyRefused: the member has no state machine.
            StorageError: the file cannot be written.
            StorageCorrupt: what arrived fails a checksum.
        """
        return self._loop.call(
            self._target.create, path, member=member, rate=rate, progress=progress, timeout=timeout
        )

    def follow(
        self,
        *,
        cluster_id: str,
        after: int,
        checksum: int,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[BackupEntries]:
        """Yield what is committed after index `after`, for ever; one comes every second at least.

        `checksum` is the chained checksum of the entry there. What is yielded is for a segment of a
        backup: `raftlog backup follow` writes it.

        Each member keeps its own log. Without `member` one that purged what follows is left for the
        next that can be reached; nobody is waited for, since a new backup is better than none.

        Raises:
            IdentityMismatch: it is another cluster, or another log.
            Compacted: what follows was purged by all that were asked: a new backup is needed.
        """
        return self._loop.iterate(
            lambda: self._target.follow(
                cluster_id=cluster_id,
                after=after,
                checksum=checksum,
                member=member,
                timeout=timeout,
            )
        )
