"""Certificates and the rules about open ports."""
