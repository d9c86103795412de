"""Where do the milliseconds of a start go? (lesson 04)"""
