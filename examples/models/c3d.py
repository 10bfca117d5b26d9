"""C3D (Tran et al., ICCV 2015), with batch normalisation as the STS paper uses it: eight 3 x 3 x 3 convolutions."""

import torch
from torch import nn

LAYERS = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions between one pooling and the next."""


class C3D(nn.Module):
    """Features of `width` channels, at 1/8 of the frames and 1/16 of the height and width."""

    def __init__(self, small: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, widths in enumerate(LAYERS):
            if number:
                # The first pooling leaves time alone, so that motion is not lost at once.
                size = (1, 2, 2) if number == 1 else (2, 2, 2)
                layers.append(nn.MaxPool3d(size, ceil_mode=True))
            for width in widths:
                channels = width // small
                layers += [
                    nn.Conv3d(before, channels, 3, padding=1, bias=False),
                    nn.BatchNorm3d(channels),
                    nn.ReLU(inplace=True),
                ]
                before = channels
        self.layers = nn.Sequential(*layers)
        self.width = before

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features [B, width, t, h, w] of clips [B, 3, T, H, W]."""
        features: torch.Tensor = self.layers(clips)
        return features
