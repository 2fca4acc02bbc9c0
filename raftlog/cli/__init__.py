"""The command line. It reaches a cluster only through the SDK; `serve` alone starts a node."""
