"""What a node tells of itself: metrics, structured log lines, and read-only HTTP endpoints."""
