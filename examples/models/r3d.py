"""3D-ResNet (Tran et al., CVPR 2018), with one block a stage as in the STS paper's released code."""

import itertools

import torch
from torch import nn

WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Two 3 x 3 x 3 convolutions beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv3d(before, width, 3, stride, 1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.Conv3d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm3d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.Conv3d(before, width, 1, stride, bias=False), nn.BatchNorm3d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, width, t, h, w]."""
        return torch.relu(self.convolutions(x) + self.shortcut(x))


class R3D(nn.Module):
    """Features of `width` channels, at 1/8 of the frames and 1/16 of the height and width."""

    def __init__(self, small: int = 1) -> None:
        super().__init__()
        widths = [width // small for width in WIDTHS]
        self.stem = nn.Sequential(
            nn.Conv3d(3, widths[0], (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
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
