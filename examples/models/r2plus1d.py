"""R(2+1)D (Tran et al., CVPR 2018): every 3D convolution of the 3D-ResNet is one in space, then one in time."""

import itertools

import torch
from torch import nn

WIDTHS = (64, 128, 256, 512)


def factored(before: int, width: int, stride: int) -> nn.Sequential:
    """Return a 1 x 3 x 3 and a 3 x 1 x 1 convolution with as many weights as one of 3 x 3 x 3 (their equation 1)."""
    between = 27 * before * width // (9 * before + 3 * width)
    return nn.Sequential(
        nn.Conv3d(before, between, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(between, width, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        nn.BatchNorm3d(width),
    )


class Block(nn.Module):
    """Two factored convolutions beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            factored(before, width, stride), nn.ReLU(inplace=True), factored(width, width, 1)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.Conv3d(before, width, 1, stride, bias=False), nn.BatchNorm3d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, width, t, h, w]."""
        return torch.relu(self.convolutions(x) + self.shortcut(x))


class R2Plus1D(nn.Module):
    """Features of `width` channels, at 1/8 of the frames and 1/16 of the height and width."""

    def __init__(self, small: int = 1) -> None:
        super().__init__()
        widths = [width // small for width in WIDTHS]
        between = max(1, 45 // small)
        self.stem = nn.Sequential(
            nn.Conv3d(3, between, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(between),
            nn.ReLU(inplace=True),
            nn.Conv3d(between, widths[0], (3, 1, 1), 1, (1, 0, 0), bias=False),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(inplace=True),
        )
        stages = [Block(widths[0], widths[0], 1)]
        stages += [Block(before, width, 2) for before, width in itertools.pairwise(widths)]
        self.stages = nn.Sequential(*stages)
        self.width = widths[-1]

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features [B, width, t, h, w] of clips [B, 3, T, H, W]."""
        features: torch.Tensor = self.stages(self.stem(clips))
        return features
