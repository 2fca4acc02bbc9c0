"""The rules of the Raft thesis (Ongaro 2014), one test each; the table is in README.md."""
