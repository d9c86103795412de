"""What was measured or published, read back and judged: rows, statistics, claims."""
