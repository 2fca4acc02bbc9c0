"""Tests of the server side of gRPC."""
