"""CUDA kernels: the arithmetic of `vstats.kernels.cpu`, bit for bit, many frame pairs at a time."""
