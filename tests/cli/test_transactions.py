"""Transactions as JSON."""

from __future__ import annotations

import json

import pytest

from raftlog import kv
from raftlog.cli.transactions import parse_transaction, read_text
from raftlog.errors import InvalidInput


def test_every_word_has_its_json():
    """Each condition and operation of the SDK can be written."""
    parts = parse_transaction(
        json.dumps(
            {
                "when": [
                    {"key": "a", "exists": True}, {"key": "a", "exists": False},
                    {"key": "a", "value": {"base64": "/w=="}}, {"key": "a", "revision": 0},
                    {"key": "a", "revision_below": 7},
                ],
                "then": [
                    {"put": "a", "value": "v", "lease": 3}, {"put": "a", "value": ""}, {"get": "a"},
                    {"delete": "a"}, {"delete": "a", "end": "b"},
                ],
                "otherwise": [{"get": {"base64": "/w=="}}],
            }
        )
    )  # fmt: skip
    assert parts.when == [
        kv.Exists(b"a"), kv.Missing(b"a"), kv.Value(b"a", b"\xff"), kv.Revision(b"a", 0),
        kv.RevisionBelow(b"a", 7),
    ]  # fmt: skip
    assert parts.then == [
        kv.Put(b"a", b"v", 3), kv.Put(b"a", b""), kv.Get(b"a"), kv.Delete(b"a"),
        kv.Delete(b"a", b"b"),
    ]  # fmt: skip
    assert parts.otherwise == [kv.Get(b"\xff")]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{", "not JSON"),
        ("[]", "a transaction is"),
        ('{"if": []}', "a transaction is"),
        ('{"when": {}}', '"when" must be a list'),
        ('{"then": [1]}', '"then" must be a list of objects'),
        ('{"when": [{"key": "a"}]}', r"when\[0\]: a condition has"),
        ('{"when": [{"exists": true}]}', r"when\[0\]: a condition has"),
        ('{"when": [{"key": "a", "exists": true, "value": "b"}]}', "exactly one test"),
        ('{"when": [{"key": "a", "age": 3}]}', 'no test "age"'),
        ('{"when": [{"key": "a", "revision": -1}]}', "whole number"),
        ('{"then": [{"get": "a"}, {"put": "a", "get": "b"}]}', r"then\[1\]: .*exactly one"),
        ('{"then": [{"get": "a", "value": "b"}]}', '"get" does not take "value"'),
        ('{"then": [{"put": 5, "value": ""}]}', "expected text"),
        ('{"then": [{"put": "a"}]}', 'a "put" has a "value"'),
        ('{"then": [{"put": "a", "put": "b", "value": ""}]}', "stands twice"),
        ('{"when": [{"key": "a", "exists": "true"}]}', "true or false"),
        ('{"when": [{"key": "a", "exists": 1}]}', "true or false"),
        ('{"when": [{"key": "a", "exists": null}]}', "true or false, not null"),
        ('{"then": [{"get": "\\ud800"}]}', "no valid text"),
        ('{"then": [{"put": {"base64": "!"}}]}', r"then\[0\]"),
    ],
)
def test_what_does_not_parse_is_said(document, why):
    """The message names the list and the place in it."""
    with pytest.raises(InvalidInput, match=why):
        parse_transaction(document)


def test_files_that_cannot_be_read(tmp_path):
    """A missing file and noise are invalid input."""
    with pytest.raises(InvalidInput, match="No such file"):
        read_text(str(tmp_path / "none"))
    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_text(str(noise))
