"""What a notebook imports: a lesson and its steps, and what they put on the page."""
