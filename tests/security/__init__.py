"""Tests of certificates and of the rules about open ports."""
