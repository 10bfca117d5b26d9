"""S3D-G (Xie et al., ECCV 2018): Inception with separated convolutions and gates on its features."""

import torch
from torch import nn

# Channels of an Inception block's branches: 1x1; 1x1 then 3x3x3; 1x1 then 3x3x3; pooled 1x1.
BLOCKS = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
POOL_BEFORE = {"3b": (1, 3), "4b": (3, 3), "5b": (2, 2)}
"""Size in time and space of the pooling before a block."""


def unit(
    before: int, width: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Sequential:
    """Return convolution, normalisation and rectifier."""
    padding = tuple(k // 2 for k in kernel)
    return nn.Sequential(
        nn.Conv3d(before, width, kernel, stride, padding, bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


def separated(before: int, width: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution in space, then one in time."""
    return nn.Sequential(
        unit(before, width, (1, size, size), (1, stride, stride)),
        unit(width, width, (size, 1, 1), (stride, 1, 1)),
    )


class Gate(nn.Module):
    """Weigh each channel by what all channels hold on average: the G of S3D-G (their section 4.5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, width, t, h, w]."""
        gates = torch.sigmoid(self.weigh(x.mean(dim=(2, 3, 4))))
        return x * gates[:, :, None, None, None]


class Inception(nn.Module):
    """Four branches side by side, each gated."""

    def __init__(self, before: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b0, b1, c0, c1, d = widths
        self.branches = nn.ModuleList(
            [
                unit(before, a, (1, 1, 1)),
                nn.Sequential(unit(before, b0, (1, 1, 1)), separated(b0, b1)),
                nn.Sequential(unit(before, c0, (1, 1, 1)), separated(c0, c1)),
                nn.Sequential(nn.MaxPool3d(3, 1, 1), unit(before, d, (1, 1, 1))),
            ]
        )
        self.gates = nn.ModuleList([Gate(width) for width in (a, b1, c1, d)])
        self.width = a + b1 + c1 + d

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, width, t, h, w]."""
        return torch.cat(
            [gate(branch(x)) for gate, branch in zip(self.gates, self.branches, strict=True)], dim=1
        )


class S3DG(nn.Module):
    """Features of `width` channels, at 1/8 of the frames and 1/32 of the height and width."""

    def __init__(self, small: int = 1) -> None:
        super().__init__()
        first, second = 64 // small, 192 // small
        layers: list[nn.Module] = [
            separated(3, first, 7, 2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            unit(first, first, (1, 1, 1)),
            separated(first, second),
        ]
        before = second
        for name, widths in BLOCKS.items():
            if name in POOL_BEFORE:
                time, space = POOL_BEFORE[name]
                stride = (1 if time == 1 else 2, 2, 2)
                padding = ((time - 1) // 2, (space - 1) // 2, (space - 1) // 2)
                layers.append(nn.MaxPool3d((time, space, space), stride, padding))
            block = Inception(before, tuple(max(1, width // small) for width in widths))
            layers.append(block)
            before = block.width
        self.layers = nn.Sequential(*layers)
        self.width = before

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features [B, width, t, h, w] of clips [B, 3, T, H, W]."""
        features: torch.Tensor = self.layers(clips)
        return features
