"""Tests of deploy/: the compose file, and the script that puts it to the test."""
