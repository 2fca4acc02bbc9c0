"""What runs for a module around the core, where the directory that mirrors its own is too much.

A survivor costs the whole of its suite, so a suite is quick: the module's own tests first, then
those of what is built on it, and no file that starts processes one after another.
"""

from __future__ import annotations

SUITES = {
    "cli.journal": ("cli/test_journal.py", "cli/test_session.py"),
    "node.proposals": ("node/test_proposals.py", "node/test_writes.py"),
    "node.reads": ("node/test_reads.py", "node/test_node_reads.py"),
    "node.sessions": ("node/test_sessions.py", "node/test_writes.py"),
    "client.routing": ("client/test_routing.py", "client/test_client.py"),
    "client.lease": ("client/test_kv.py", "client/test_lock.py"),
    "rpc.convert": ("rpc/test_convert.py", "rpc/test_peer.py", "rpc/test_kv.py"),
    "storage.lmdb.layout": ("storage/lmdb/test_layout.py", "storage/lmdb/test_stream_index.py"),
    "storage.lmdb.stream_index": ("storage/lmdb/test_stream_index.py", "storage/test_pages.py"),
    "storage.lmdb.tables": ("storage/lmdb/test_tables.py", "storage/test_pages.py"),
    "client.kv": ("client/test_kv.py", "client/test_lock.py", "client/test_watch.py"),
    "rpc.services.tail": ("rpc/test_tail.py",),
    "storage.lmdb.store": (
        "storage/lmdb/test_store.py",
        "storage/test_pages.py",
        "storage/lmdb/test_syncs.py",
        "storage/test_snapshots_kept.py",
        "storage/test_memory.py",
        "storage/lmdb/test_recovery.py",
        "storage/lmdb/test_disk.py",
        "storage/lmdb/test_installation.py",
    ),
    "storage.lmdb.log": (
        "storage/lmdb/test_log.py",
        "storage/test_pages.py",
        "storage/lmdb/test_store.py",
        "storage/test_entry_cache.py",
        "storage/test_memory.py",
        "storage/lmdb/test_recovery.py",
    ),
    "storage.lmdb.hard_state": (
        "storage/lmdb/test_hard_state.py",
        "storage/lmdb/test_recovery.py",
        "storage/lmdb/test_store.py",
        "storage/test_memory.py",
    ),
    "storage.lmdb.installation": (
        "storage/lmdb/test_installation.py",
        "storage/lmdb/test_syncs.py",
    ),
    "storage.lmdb.compaction": (
        "storage/lmdb/test_compaction.py",
        "storage/lmdb/test_syncs.py",
    ),
    "storage.lmdb.snapshots": (
        "storage/lmdb/test_snapshots.py",
        "storage/lmdb/test_syncs.py",
        "storage/test_snapshots_kept.py",
        "storage/test_memory.py",
    ),
    "storage.lmdb.restoring": ("storage/lmdb/test_restoring.py", "backup/test_restore.py"),
    "storage.lmdb.refounding": (
        "storage/lmdb/test_refounding.py",
        "recovery/test_refounding.py",
    ),
    "storage.lmdb.recovery": (
        "storage/lmdb/test_recovery.py",
        "storage/lmdb/test_verification.py",
        "storage/lmdb/test_store.py",
    ),
    "storage.lmdb.environment": (
        "storage/lmdb/test_environment.py",
        "storage/lmdb/test_syncs.py",
        "storage/lmdb/test_compaction.py",
        "storage/lmdb/test_store.py",
    ),
    "storage.lmdb.disk": ("storage/lmdb/test_disk.py", "storage/lmdb/test_syncs.py"),
    "storage.lmdb.verification": ("storage/lmdb/test_verification.py",),
    "storage.records": ("storage/test_records.py", "storage/test_format.py"),
    "storage.snapshot_file": (
        "storage/test_snapshot_file.py",
        "storage/test_format.py",
        "storage/lmdb/test_snapshots.py",
    ),
    "storage.backup_file": (
        "storage/test_backup_file.py",
        "storage/test_segment_file.py",
        "backup/test_source.py",
    ),
    "storage.segment_file": (
        "storage/test_segment_file.py",
        "storage/lmdb/test_syncs.py",
        "backup/test_ship.py",
    ),
}
