"""The public functions of the kernels: the only full docstrings and the only input checks.

    >>> from vstats.kernels import ops
    >>> flow = ops.tvl1(gray_frames)                      # uint8 [T, H, W] -> float32 [T-1, H, W, 2]
    >>> labels = ops.clip_labels(rgb_frames, flow).values # uint8 [27]
"""
