"""Figures that know their words: primitives from rows to `Picture`."""
