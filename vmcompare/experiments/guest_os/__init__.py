"""Lesson 01: what a guest operating system costs for each instance."""
