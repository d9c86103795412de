"""Lesson 04: where do the milliseconds of a start go?"""
