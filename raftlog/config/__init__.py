"""Settings of a node: what there is (`schema`), how a value is written (`values`), where from."""
