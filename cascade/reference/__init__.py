"""The engine in plain Python, written to be read: the oracle of the compiled one."""
