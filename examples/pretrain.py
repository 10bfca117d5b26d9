"""Pretrain a video network on the labels of stores.

    python examples/pretrain.py labels.vstats --backbone r3d -o r3d.pt          # loss and schedule of the papers
    python examples/pretrain.py labels.vstats --root videos/ --workers 8        # frames from your own videos

Loss and schedule are those of the STS paper's released code (laura-wang/video_repres_sts, train.py): labels are regressed,
a mean squared error over motion plus 0.1 times that over appearance; SGD with rate 0.0005 (twice that for biases),
momentum 0.9, weight decay 0.005, tenfold less every 6 of 18 epochs, batches of 30. MAS (laura-wang/video_repres_mas)
differs in rate 0.001, and in counting batches: tenfold less every 20,000 of 80,000. `--loss classes` predicts each label as
a class instead, by cross-entropy, and leaves undefined labels out.

Stopped, the same command goes on after the last finished epoch. demo.py shows what is learned.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from models import BACKBONES
from torch import nn
from torch.nn import functional

from vstats.kernels.errors import VstatsError
from vstats.pipeline.errors import UsageError
from vstats.pipeline.loader import IGNORE, ClipDataset, ClipLoader, Filter, normalise


class Pretext(nn.Module):
    """A backbone and one linear layer that predicts every label.

    Labels say where and when, so features are averaged to a grid of 2 x 4 x 4 in time and space, and no further.
    """

    def __init__(self, backbone: str, small: int, outputs: int) -> None:
        super().__init__()
        self.shape = (backbone, small, outputs)
        self.backbone = BACKBONES[backbone](small)
        self.head = nn.Linear(int(self.backbone.width) * 32, outputs)  # type: ignore[arg-type]

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return float32 [B, outputs] of clips [B, 3, T, H, W]."""
        grid = functional.adaptive_avg_pool3d(self.backbone(clips), (2, 4, 4))
        outputs: torch.Tensor = self.head(grid.flatten(1))
        return outputs

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """Return what a probe sees: features averaged over time and place, [B, width]."""
        averaged: torch.Tensor = self.backbone(clips).mean(dim=(2, 3, 4))
        return averaged


@dataclass
class Task:
    """What the outputs of the network mean, for the labels of a data set and one of the two losses."""

    dataset: ClipDataset
    loss: str
    appearance_weight: float

    def __post_init__(self) -> None:
        self.classes = [t.classes for t in self.dataset.targets]
        self.families = list(dict.fromkeys(t.family for t in self.dataset.targets))
        weights = {"appearance": self.appearance_weight}
        self.weights = [weights.get(t.family, 1.0) for t in self.dataset.targets]

    @property
    def outputs(self) -> int:
        return sum(self.classes) if self.loss == "classes" else len(self.classes)

    def labels(self, batch: dict[str, Any], device: torch.device) -> torch.Tensor:
        """Return class indices, int64 [B, labels], -1 undefined."""
        return torch.cat([batch[family] for family in self.families], dim=1).to(device, non_blocking=True)

    def measure(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        losses = []
        if self.loss == "regression":
            squared = (outputs - (labels + 1)) ** 2  # the papers' numbers: from 1, and 0 where undefined
            for family in self.families:
                mine = [k for k, t in enumerate(self.dataset.targets) if t.family == family]
                losses.append(self.weights[mine[0]] * squared[:, mine].mean())
            return torch.stack(losses).sum()
        for k, scores in enumerate(outputs.split(self.classes, dim=1)):
            if (labels[:, k] != IGNORE).any():
                loss = functional.cross_entropy(scores, labels[:, k], ignore_index=IGNORE)
                losses.append(self.weights[k] * loss)
        return torch.stack(losses).mean()

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return class indices, int64 [B, labels]."""
        if self.loss == "regression":
            highest = torch.tensor(self.classes, device=outputs.device) - 1
            return (outputs.round().long() - 1).clamp(min=0).minimum(highest)
        return torch.stack([scores.argmax(dim=1) for scores in outputs.split(self.classes, dim=1)], dim=1)


def frames_of(batch: dict[str, Any], device: torch.device) -> torch.Tensor:
    """Return the frames of a batch as the network takes them."""
    return normalise(batch["frames"].to(device, non_blocking=True))


def train(network: Pretext, task: Task, loader: ClipLoader, options: argparse.Namespace) -> None:
    """Train by the schedule of the papers; go on from the checkpoint where there is one."""
    device = options.device
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in network.named_parameters() if not name.endswith("bias")]
    groups = [{"params": weights, "lr": options.lr}, {"params": biases, "lr": 2 * options.lr}]
    optimizer = torch.optim.SGD(
        groups, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, options.step, options.gamma)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    first = 0
    if options.output and options.output.exists():
        state = torch.load(options.output, map_location=device)
        first = state["epoch"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
    network.train()
    for epoch in range(first, options.epochs):
        loader.set_epoch(epoch)
        began, total, count = time.perf_counter(), 0.0, 0
        for batch in loader:
            labels = task.labels(batch, device)
            loss = task.measure(network(frames_of(batch, device)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(labels), count + len(labels)
        schedule.step()
        rate = count / (time.perf_counter() - began)
        print(
            f"epoch {epoch + 1:3}/{options.epochs}  loss {total / count:.4f}  {rate:.0f} clips/s", flush=True
        )
        if options.output:
            aside = options.output.with_suffix(".partial")
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({"epoch": epoch + 1, "shape": network.shape, **states}, aside)
            aside.replace(options.output)


def prepare(options: argparse.Namespace, where: Filter | None = None) -> tuple[Pretext, Task, ClipLoader]:
    """Return the network, with weights drawn from the seed, its task, and the loader of the training clips."""
    dataset = ClipDataset(options.stores, root=options.root, where=where)
    loader = ClipLoader(
        dataset, options.batch_size, seed=options.seed, by_shard=options.by_shard, drop_last=True,
        curriculum=(0.5, options.epochs // 2) if options.curriculum else None, num_workers=options.workers,
        persistent_workers=options.workers > 0, pin_memory=options.device.type == "cuda",
    )  # fmt: skip
    if not len(loader):
        raise UsageError(
            f"{len(dataset)} clips do not fill a batch of {options.batch_size}; lower --batch-size"
        )
    task = Task(dataset, options.loss, options.appearance_weight)
    shape = (options.backbone, options.small, task.outputs)
    return new_network(shape, options.device, options.seed), task, loader


def new_network(shape: tuple[str, int, int], device: torch.device, seed: int = 0) -> Pretext:
    """Return a network with weights drawn from the seed; clips lie in memory channels last, and so do its weights."""
    torch.manual_seed(seed)
    return Pretext(*shape).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def load_network(checkpoint: Path, device: torch.device, *, weights: bool = True) -> Pretext:
    """Return the network of a checkpoint, or one of its shape with random weights."""
    state = torch.load(checkpoint, map_location=device)
    network = new_network(state["shape"], device)
    if weights:
        network.load_state_dict(state["network"])
    return network


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("stores", nargs="+", help="finished stores of labels")
    add("--root", help="folder of the videos, where the stores keep no clips")
    add("--backbone", default="r3d", choices=BACKBONES)
    add("--small", type=int, default=1, help="divide the numbers of channels by this")
    add("--loss", default="regression", choices=["regression", "classes"])
    add("--appearance-weight", type=float, default=0.1)
    add("--epochs", type=int, default=18)
    add("--batch-size", type=int, default=30)
    add("--lr", type=float, default=0.0005)
    add("--momentum", type=float, default=0.9)
    add("--weight-decay", type=float, default=0.005)
    add("--step", type=int, default=6, help="epochs after which the rate drops")
    add("--gamma", type=float, default=0.1, help="to what share it drops")
    add("--curriculum", action="store_true", help="begin with the half of the clips that moves most")
    add("--by-shard", type=int, default=0, help="shuffle groups of this many shards; 0: everything")
    add("--workers", type=int, default=0, help="processes that load clips")
    add("--seed", type=int, default=0)
    add("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    add("-o", "--output", type=Path, help="checkpoint; training goes on from it where it is there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Pretrain as the command line says."""
    options = parse(arguments)
    try:
        train(*prepare(options), options)
    except VstatsError as error:
        sys.exit(f"pretrain: {error}")


if __name__ == "__main__":
    main()
