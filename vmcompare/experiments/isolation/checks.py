"""Isolation, practised: what the answers to its exercises are held to."""
