"""What a pretrained network has learned, read from its frozen features by a linear probe.

    python examples/probe.py r3d.pt train.vstats test.vstats

The stores are of videos with classes, as data set lists give them. The probe is a logistic regression from features,
averaged over time and place, to the class; it is fitted on the first store and judged on the second. The same probe on
random weights stands beside it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from pretrain import Pretext, Task, frames_of, load_network
from torch import nn
from torch.nn import functional

from vstats.kernels.errors import VstatsError
from vstats.pipeline.errors import UsageError
from vstats.pipeline.loader import IGNORE, ClipDataset, ClipLoader


@torch.no_grad()
def label_accuracy(
    network: Pretext, task: Task, training: ClipLoader, held_out: ClipLoader
) -> list[dict[str, Any]]:
    """Return for every label how often it is right on held-out clips, and how often the commonest training label is."""
    network.eval()
    device = next(network.parameters()).device
    known = torch.cat([task.labels(batch, device) for batch in training])
    truth, guesses = [], []
    for batch in held_out:
        truth.append(task.labels(batch, device))
        guesses.append(task.predict(network(frames_of(batch, device))))
    lines = []
    for k, target in enumerate(task.dataset.targets):
        seen, labels, guess = known[:, k], torch.cat(truth)[:, k], torch.cat(guesses)[:, k]
        there = labels != IGNORE
        commonest = torch.bincount(seen[seen != IGNORE], minlength=target.classes).argmax()
        right, usual = ((labels == value)[there].float().mean().item() for value in (guess, commonest))
        lines.append({"label": target.name, "classes": target.classes, "accuracy": right, "majority": usual})
    return lines


@torch.no_grad()
def frozen_features(network: Pretext, loader: ClipLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features [n, width] and the videos' own classes [n]."""
    device = next(network.parameters()).device
    network.eval()
    seen = [(network.features(frames_of(batch, device)), batch["label"]) for batch in loader]
    if any((classes < 0).any() for _, classes in seen):
        raise UsageError(
            "a video has no class to tell; extract from a list that states classes, with --classes"
        )
    return torch.cat([f for f, _ in seen]).cpu(), torch.cat([c for _, c in seen])


@torch.no_grad()
def adapt(network: Pretext, loader: ClipLoader) -> Pretext:
    """Let batch normalisation see the data: without it random weights would look worse than they are."""
    device = next(network.parameters()).device
    network.train()
    for batch in loader:
        network.features(frames_of(batch, device))
    return network


def probe(network: Pretext, training: ClipLoader, held_out: ClipLoader) -> float:
    """Return how often logistic regression on frozen features names the class of a held-out clip."""
    x, y = frozen_features(network, training)
    new_x, new_y = frozen_features(network, held_out)
    mean, std = x.mean(dim=0), x.std(dim=0) + 1e-6
    x, new_x = (x - mean) / std, (new_x - mean) / std
    linear = nn.Linear(x.shape[1], int(y.max()) + 1)
    nn.init.zeros_(linear.weight)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(linear(x), y) + 1e-3 * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return float((linear(new_x).argmax(dim=1) == new_y).float().mean())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="what pretrain.py -o wrote")
    parser.add_argument("training", help="store that the probe is fitted on")
    parser.add_argument("held_out", help="store that it is judged on")
    parser.add_argument("--root", help="folder of the videos, where the stores keep no clips")
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Probe as the command line says."""
    options = parse(arguments)
    try:
        training, held_out = (
            ClipLoader(ClipDataset(store, root=options.root), 64, shuffle=False)
            for store in (options.training, options.held_out)
        )
        pretrained = probe(load_network(options.checkpoint, options.device), training, held_out)
        untrained = adapt(load_network(options.checkpoint, options.device, weights=False), training)
        print(
            f"linear probe  {pretrained:.1%} pretrained, {probe(untrained, training, held_out):.1%} random weights"
        )
    except VstatsError as error:
        sys.exit(f"probe: {error}")


if __name__ == "__main__":
    main()
