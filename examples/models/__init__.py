"""The four backbones of the papers. Each maps float32 [B, 3, T, H, W] to features [B, width, t, h, w].

`small` divides the numbers of channels, for CPUs and tests; 1 is the papers' size.
"""

from collections.abc import Callable

from torch import nn

from models.c3d import C3D
from models.r2plus1d import R2Plus1D
from models.r3d import R3D
from models.s3dg import S3DG

BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "c3d": C3D,
    "r3d": R3D,
    "r2plus1d": R2Plus1D,
    "s3dg": S3DG,
}
