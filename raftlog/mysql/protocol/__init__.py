"""The client/server protocol as a source of replication speaks it: packets and their states.

Rule: sans-IO. A connection is a value that takes bytes and gives bytes; who reads the socket, and
whose log it is, is the business of `mysql.net`.
"""
