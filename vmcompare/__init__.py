"""Measure, on your own computer, how virtual machines and containers differ."""

__version__ = "0.1.0"
