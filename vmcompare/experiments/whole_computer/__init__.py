"""Lesson 00: what is on this computer, a VM of 512 bytes, and what noise looks like."""
