"""How long it takes until what was moved runs elsewhere."""
