"""The gRPC services: thin, each converts, calls the node, and converts back."""
