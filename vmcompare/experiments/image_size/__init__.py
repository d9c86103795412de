"""Lesson 03: what is in an image, and what has to be shipped twice?"""
