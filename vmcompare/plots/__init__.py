"""Plot functions: rows become a figure with its alternative text (`Picture`)."""
