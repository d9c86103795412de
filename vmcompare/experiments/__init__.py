"""One folder a question: `measure.py` makes rows, `explain.py` makes pictures of them."""
