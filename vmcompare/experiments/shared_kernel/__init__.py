"""Whose kernel answers? (lesson 02)"""
