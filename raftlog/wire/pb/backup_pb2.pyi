from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class BackupRequest(_message.Message):
    __slots__ = ("bytes_per_second",)
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    bytes_per_second: float
    def __init__(self, bytes_per_second: _Optional[float] = ...) -> None: ...

class BackupChunk(_message.Message):
    __slots__ = ("data", "checksum", "offset", "expected_bytes", "served_by", "last")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    checksum: int
    offset: int
    expected_bytes: int
    served_by: str
    last: bool
    def __init__(self, data: _Optional[bytes] = ..., checksum: _Optional[int] = ..., offset: _Optional[int] = ..., expected_bytes: _Optional[int] = ..., served_by: _Optional[str] = ..., last: _Optional[bool] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("cluster_id", "after", "checksum")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    after: int
    checksum: int
    def __init__(self, cluster_id: _Optional[str] = ..., after: _Optional[int] = ..., checksum: _Optional[int] = ...) -> None: ...

class FollowChunk(_message.Message):
    __slots__ = ("entries", "checksum", "commit_index", "served_by")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    entries: bytes
    checksum: int
    commit_index: int
    served_by: str
    def __init__(self, entries: _Optional[bytes] = ..., checksum: _Optional[int] = ..., commit_index: _Optional[int] = ..., served_by: _Optional[str] = ...) -> None: ...
