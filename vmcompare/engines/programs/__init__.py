"""Tiny static programs that instances run, written byte by byte by our own Python."""
