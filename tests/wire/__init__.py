"""Tests of what client and server share on the wire."""
