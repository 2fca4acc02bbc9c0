"""Sans-IO Raft."""
