"""Lesson 05: what stands between neighbours, and what happens when it breaks."""
