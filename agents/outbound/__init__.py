"""Connectors: they carry actions out, and tell what became of them as interactions."""
