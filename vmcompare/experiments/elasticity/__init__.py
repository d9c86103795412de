"""Who gives memory back, and who notices a limit."""
