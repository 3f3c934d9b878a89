"""Order books behind the protocol of compare.py: ours, and others' from PyPI (each needs its package)."""
