"""Lesson 02: whose kernel answers?"""
