"""Generators and checks for developers; nothing in the product imports this package."""
