"""The Numba backend. A jitted function calls jitted functions of its own file only (see `jit.py`)."""
