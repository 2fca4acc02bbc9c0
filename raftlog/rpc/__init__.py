"""The server side of gRPC: peers' streams and clients' services over one port."""
