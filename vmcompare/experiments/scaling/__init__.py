"""What the N-th copy costs."""
