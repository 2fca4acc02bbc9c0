"""The process around a node: composition, the event loop, signals."""
