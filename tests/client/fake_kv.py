"""A key-value machine small enough to be right at sight."""

from __future__ import annotations

from raftlog.errors import Rejected
from raftlog.wire.pb import kv_pb2


class FakeKv:
    """Keys, leases and the events they made."""

    def __init__(self) -> None:
        self.entries: dict[bytes, kv_pb2.KeyValue] = {}
        self.leases: dict[int, float] = {}
        self.refreshes = 0
        self.page = 7
        self.events: list[kv_pb2.KvEvent] = []

    def apply(self, command: bytes, revision: int) -> bytes:
        message = kv_pb2.KvCommand.FromString(command)
        handler = getattr(self, f"_{message.WhichOneof('body')}")
        body = getattr(message, message.WhichOneof("body"))
        return handler(body, revision).SerializeToString()

    def answer(self, query: kv_pb2.KvQuery) -> kv_pb2.KvAnswer:
        match query.WhichOneof("body"):
            case "get":
                found = self.entries.get(query.get.key)
                return kv_pb2.KvAnswer(found=found is not None, key_values=[found] if found else [])
            case "range":
                return self._answer_range(query.range)
            case "leases":
                behind = sorted(lease for lease in self.leases if lease > query.leases.after)
                page = behind[: self.page]
                return kv_pb2.KvAnswer(
                    leases=[self._lease_status(lease) for lease in page],
                    more=len(page) < len(behind),
                )
            case _:
                lease = query.lease.lease
                keys = [key for key, each in self.entries.items() if each.lease == lease]
                return kv_pb2.KvAnswer(
                    found=lease in self.leases,
                    ttl_seconds=self.leases.get(lease, 0),
                    lease_keys=keys,
                    leases=[self._lease_status(lease)] if lease in self.leases else [],
                )

    def _lease_status(self, lease: int) -> kv_pb2.LeaseStatus:
        keys = sum(each.lease == lease for each in self.entries.values())
        ttl = self.leases[lease]
        return kv_pb2.LeaseStatus(lease=lease, ttl_seconds=ttl, left_seconds=ttl, key_count=keys)

    def _answer_range(self, body: kv_pb2.Range) -> kv_pb2.KvAnswer:
        keys = [
            key
            for key in sorted(self.entries, reverse=body.reverse)
            if key >= body.start and (not body.end or key < body.end)
        ]
        page = keys[: min(body.limit or self.page, self.page)]
        more = len(page) < len(keys)
        shown = page if not body.count_only else page[-1:] if more else []
        return kv_pb2.KvAnswer(
            key_values=[self.entries[key] for key in shown], more=more, count=len(page)
        )

    def _put(self, body, revision):
        if body.lease and body.lease not in self.leases:
            raise Rejected(f"no lease {body.lease}")
        was = self.entries.get(body.key)
        self.entries[body.key] = kv_pb2.KeyValue(
            key=body.key,
            value=body.value,
            revision=revision,
            created=was.created if was else revision,
            version=was.version + 1 if was else 1,
            lease=body.lease,
        )
        self.events.append(
            kv_pb2.KvEvent(key=body.key, value=body.value, revision=revision, previous=was)
        )
        return kv_pb2.KvResult(succeeded=True)

    def _delete(self, body, revision):
        keys = [
            key
            for key in sorted(self.entries)
            if key == body.key or (body.range_end and body.key <= key < body.range_end)
        ]
        for key in keys:
            was = self.entries.pop(key)
            self.events.append(kv_pb2.KvEvent(kind=1, key=key, revision=revision, previous=was))
        return kv_pb2.KvResult(deleted=len(keys))

    def _compare_and_swap(self, body, revision):
        was = self.entries.get(body.key)
        if (was.revision if was else 0) != body.revision:
            return kv_pb2.KvResult(succeeded=False, current=was)
        return self._put(kv_pb2.Put(key=body.key, value=body.value, lease=body.lease), revision)

    def _transaction(self, body, revision):
        succeeded = all(self._holds(condition) for condition in body.when)
        result = kv_pb2.KvResult(succeeded=succeeded)
        for operation in body.then if succeeded else body.otherwise:
            match operation.WhichOneof("body"):
                case "put":
                    self._put(operation.put, revision)
                    result.results.add()
                case "delete":
                    result.results.add(deleted=self._delete(operation.delete, revision).deleted)
                case "get":
                    found = self.entries.get(operation.get.key)
                    result.results.add(found=found is not None, key_value=found)
        return result

    def _holds(self, condition) -> bool:
        was = self.entries.get(condition.key)
        match condition.WhichOneof("test"):
            case "revision":
                return (was.revision if was else 0) == condition.revision
            case "revision_below":
                return (was.revision if was else 0) < condition.revision_below
            case "value":
                return was is not None and was.value == condition.value
            case _:
                return (was is not None) == condition.exists

    def _lease_grant(self, body, revision):
        self.leases[revision] = body.ttl_seconds
        return kv_pb2.KvResult(lease=revision, ttl_seconds=body.ttl_seconds)

    def _lease_refresh(self, body, revision):
        if body.lease not in self.leases:
            raise Rejected(f"no lease {body.lease}")
        self.refreshes += 1
        return kv_pb2.KvResult(succeeded=True)

    def _lease_revoke(self, body, revision):
        if self.leases.pop(body.lease, None) is None:
            raise Rejected(f"no lease {body.lease}")
        for key in [key for key, each in self.entries.items() if each.lease == body.lease]:
            self._delete(kv_pb2.Delete(key=key), revision)
        return kv_pb2.KvResult(succeeded=True)
