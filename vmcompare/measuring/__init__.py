"""How an experiment is run: its plan, the child process, the rows, the facts of the host."""
