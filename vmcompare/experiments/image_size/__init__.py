"""What is in the box, and what has to be shipped twice? (lesson 03)"""
