"""How much a start executes: instructions counted on one virtual computer."""
