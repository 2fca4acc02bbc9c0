"""`python -m raftlog`: the command line."""

from raftlog.cli.main import main

if __name__ == "__main__":
    main()
