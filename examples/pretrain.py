"""Pretrain a video network on the labels of a store, and see what it learned.

    python examples/pretrain.py labels.vstats --backbone r3d -o r3d.pt       # loss and schedule of the papers
    python examples/pretrain.py --demo                                       # makes its own videos; minutes on 2 cores

Loss and schedule are those of the STS paper's released code (laura-wang/video_repres_sts, train.py): labels are regressed,
a mean squared error over motion plus 0.1 times that over appearance; SGD with rate 0.0005 (twice that for biases),
momentum 0.9, weight decay 0.005, tenfold less every 6 of 18 epochs, batches of 30. `--loss classes` predicts each label
as a class instead, by cross-entropy, and leaves undefined labels out.

The demo (`--loss classes`) draws videos of shapes that move in one of four directions, labels them with vstats, pretrains
a small 3D-ResNet, and reports on videos it never saw: the accuracy of every label beside that of always saying the
commonest, and how well a linear probe on the frozen features tells the four directions apart, beside the same probe on
the same network with random weights. One seed, one plot.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from models import BACKBONES
from moving_shapes import DIRECTIONS, HEIGHT, WIDTH, make_videos
from torch import nn
from torch.nn import functional

from vstats.pipeline.loader import IGNORE, ClipDataset, ClipLoader, Filter, in_share, normalise

HELD_OUT = 0.2
"""Share of the videos that the demo never trains on."""


class Pretext(nn.Module):
    """A backbone and one linear layer that predicts every label.

    Labels say where, so features are averaged over time and to a grid of 4 x 4, and no further.
    """

    def __init__(self, backbone: nn.Module, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.width) * 16, outputs)  # type: ignore[arg-type]

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return float32 [B, outputs] of clips [B, 3, T, H, W]."""
        grid = functional.adaptive_avg_pool3d(self.backbone(clips), (1, 4, 4))
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
            squared = (outputs - (labels + 1)) ** 2
            for family in self.families:
                mine = [k for k, t in enumerate(self.dataset.targets) if t.family == family]
                losses.append(self.weights[mine[0]] * squared[:, mine].mean())
            return torch.stack(losses).sum()
        for k, scores in enumerate(outputs.split(self.classes, dim=1)):
            if (labels[:, k] != IGNORE).any():
                losses.append(
                    self.weights[k] * functional.cross_entropy(scores, labels[:, k], ignore_index=IGNORE)
                )
        return torch.stack(losses).mean()

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return class indices, int64 [B, labels]."""
        if self.loss == "regression":
            highest = torch.tensor(self.classes, device=outputs.device) - 1
            return (outputs.round().long() - 1).clamp(min=0).minimum(highest)
        return torch.stack([scores.argmax(dim=1) for scores in outputs.split(self.classes, dim=1)], dim=1)


def frames_of(batch: dict[str, Any], device: torch.device) -> torch.Tensor:
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
    first = 0
    if options.output and options.output.exists():
        state = torch.load(options.output, map_location=device)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
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
        seconds = time.perf_counter() - began
        print(
            f"epoch {epoch + 1:3}/{options.epochs}  loss {total / count:.4f}  {count / seconds:.0f} clips/s",
            flush=True,
        )
        if options.output:
            states = {"network": network, "optimizer": optimizer, "schedule": schedule}
            torch.save({"epoch": epoch + 1, **{k: v.state_dict() for k, v in states.items()}}, options.output)


@torch.no_grad()
def label_accuracy(
    network: Pretext, task: Task, training: ClipLoader, held_out: ClipLoader
) -> list[dict[str, Any]]:
    """Return for every label how often it is right on held-out videos, and how often the commonest training label is."""
    network.eval()
    device = next(network.parameters()).device
    known = torch.cat([task.labels(batch, device) for batch in training])
    commonest = known.where(known >= 0, torch.nan).float().mode(dim=0).values.long()
    right, usual, defined = (torch.zeros(len(task.classes)) for _ in range(3))
    for batch in held_out:
        labels = task.labels(batch, device)
        there = labels != IGNORE
        right += ((task.predict(network(frames_of(batch, device))) == labels) & there).sum(dim=0).cpu()
        usual += ((commonest == labels) & there).sum(dim=0).cpu()
        defined += there.sum(dim=0).cpu()
    accuracy, majority = (right / defined).tolist(), (usual / defined).tolist()
    return [
        {"label": t.name, "classes": t.classes, "accuracy": a, "majority": m}
        for t, a, m in zip(task.dataset.targets, accuracy, majority, strict=True)
    ]


@torch.no_grad()
def frozen_features(
    network: Pretext, loader: ClipLoader, *, adapt: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features [n, width] and the videos' own classes [n].

    `adapt` first lets batch normalisation see the data: without it random weights would look worse than they are.
    """
    device = next(network.parameters()).device
    if adapt:
        network.train()
        for batch in loader:
            network.features(frames_of(batch, device))
    network.eval()
    seen = [(network.features(frames_of(batch, device)), batch["label"]) for batch in loader]
    return torch.cat([f for f, _ in seen]).cpu(), torch.cat([c for _, c in seen])


def probe(network: Pretext, training: ClipLoader, held_out: ClipLoader, *, adapt: bool = False) -> float:
    """Return how often logistic regression on frozen features names the class of a held-out clip."""
    x, y = frozen_features(network, training, adapt=adapt)
    new_x, new_y = frozen_features(network, held_out, adapt=False)
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

    with torch.enable_grad():
        optimizer.step(loss)
    return float((linear(new_x).argmax(dim=1) == new_y).float().mean())


def demo_store(folder: Path, options: argparse.Namespace) -> Path:
    """Draw videos and label them."""
    began = time.perf_counter()
    names = make_videos(folder / "videos", options.videos, options.seed)
    classes = list(DIRECTIONS)
    lines = (f"{name} {classes.index(name.partition('/')[0])}\n" for name in names)
    (folder / "list.txt").write_text("".join(lines))
    command = f"""extract {folder / "list.txt"} --root {folder / "videos"} -o {folder / "demo.vstats"}
        --frame-size {HEIGHT}x{WIDTH} --crop-size 56 --crops random:3 --save clips,statistics
        --workers {options.extract_workers} --shard-size 128"""
    subprocess.run(
        [sys.executable, "-m", "vstats.cli", *command.split()], check=True, stdout=subprocess.DEVNULL
    )
    print(f"{len(names)} videos drawn and labelled in {time.perf_counter() - began:.0f} s", flush=True)
    return folder / "demo.vstats"


def run_demo(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Pretrain on made videos and return what was learned."""
    store = demo_store(folder, options)
    keys = set(ClipDataset(store).keys)
    unseen = {key for key in keys if in_share(key, share=HELD_OUT, seed=options.seed)}
    task, loader = prepare(store, options, Filter(keys=keys - unseen))
    training = ClipLoader(loader.dataset, 64, shuffle=False)
    held_out = ClipLoader(ClipDataset(store, where=Filter(keys=unseen)), 64, shuffle=False)
    network = build(task, options)
    random_probe = probe(network, training, held_out, adapt=True)
    network = build(task, options)
    began = time.perf_counter()
    train(network, task, loader, options)
    seconds = time.perf_counter() - began
    labels = label_accuracy(network, task, training, held_out)
    result = {
        "labels": labels,
        "probe": {"pretrained": probe(network, training, held_out), "random": random_probe, "chance": 0.25},
        "training_clips": len(loader.dataset), "held_out_clips": len(held_out.dataset), "seconds": round(seconds),
    }  # fmt: skip
    print(f"\n{'label, on held-out videos':36} {'accuracy':>9} {'commonest':>9}")
    for line in labels:
        print(f"{line['label']:36} {line['accuracy']:9.1%} {line['majority']:9.1%}")
    for family in task.families:
        mine = [line for line in labels if line["label"].startswith(family)]
        means = [sum(line[k] for line in mine) / len(mine) for k in ("accuracy", "majority")]
        print(f"{'mean, ' + family:36} {means[0]:9.1%} {means[1]:9.1%}")
    print(
        f"\nlinear probe, 4 directions: {result['probe']['pretrained']:.1%} pretrained, {random_probe:.1%} random weights"
    )
    return result


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw accuracy by label and the probe."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    labels = result["labels"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=[5, 1], layout="constrained")
    at = range(len(labels))
    left.bar(
        [x - 0.2 for x in at],
        [line["accuracy"] for line in labels],
        0.4,
        color="#2166ac",
        label="pretrained 3D-ResNet",
    )
    left.bar(
        [x + 0.2 for x in at],
        [line["majority"] for line in labels],
        0.4,
        color="#bdbdbd",
        label="always the commonest label",
    )
    left.set_xticks(
        at, [line["label"].replace("pattern_", "p") for line in labels], rotation=60, ha="right", fontsize=7
    )
    left.set(ylim=(0, 1), ylabel="accuracy, held-out videos", title="Labels predicted from pixels")
    left.legend(frameon=False, loc="upper center", ncols=2)
    found = result["probe"]
    right.bar([0, 1], [found["pretrained"], found["random"]], 0.7, color=["#2166ac", "#bdbdbd"])
    right.axhline(found["chance"], color="black", linewidth=0.8, linestyle=":")
    right.set_xticks([0, 1], ["pretrained", "random\nweights"], fontsize=8)
    right.set(ylim=(0, 1), title="Linear probe,\n4 directions")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def prepare(stores: Any, options: argparse.Namespace, where: Filter) -> tuple[Task, ClipLoader]:
    """Return the task and the loader of the training videos."""
    dataset = ClipDataset(stores, root=options.root, where=where)
    loader = ClipLoader(
        dataset, options.batch_size, seed=options.seed, by_shard=options.by_shard, drop_last=True,
        curriculum=(0.5, options.epochs // 2) if options.curriculum else None, num_workers=options.workers,
        persistent_workers=options.workers > 0, pin_memory=options.device.type == "cuda",
    )  # fmt: skip
    return Task(dataset, options.loss, options.appearance_weight), loader


def build(task: Task, options: argparse.Namespace) -> Pretext:
    """Return a network with weights drawn from the seed; clips come channels last, and so are its weights."""
    torch.manual_seed(options.seed)
    network = Pretext(BACKBONES[options.backbone](options.small), task.outputs)
    return network.to(options.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="*", help="finished stores of labels")
    parser.add_argument("--root", help="folder of the videos, where the stores keep no clips")
    parser.add_argument("--backbone", default="r3d", choices=BACKBONES)
    parser.add_argument("--small", type=int, default=1, help="divide the numbers of channels by this")
    parser.add_argument("--loss", default="regression", choices=["regression", "classes"])
    parser.add_argument("--appearance-weight", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--batch-size", type=int, default=30)
    parser.add_argument("--lr", type=float, default=0.0005)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=0.005)
    parser.add_argument("--step", type=int, default=6, help="epochs after which the rate drops")
    parser.add_argument("--gamma", type=float, default=0.1, help="to what share it drops")
    parser.add_argument(
        "--curriculum", action="store_true", help="begin with the half of the clips that moves most"
    )
    parser.add_argument(
        "--by-shard", type=int, default=0, help="shuffle groups of this many shards; 0: everything"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that load clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "-o", "--output", type=Path, help="checkpoint; training goes on from it where it is there"
    )
    parser.add_argument("--demo", action="store_true", help="draw videos, label them, pretrain, and report")
    parser.add_argument("--videos", type=int, default=1000, help="demo: how many to draw")
    parser.add_argument("--extract-workers", type=int, default=2, help="demo: processes that label")
    parser.add_argument("--plot", type=Path, help="demo: draw the result into this file (needs matplotlib)")
    parser.add_argument("--json", type=Path, help="demo: write the figures into this file")
    if "--demo" in (sys.argv if arguments is None else arguments):
        parser.set_defaults(
            loss="classes", small=8, epochs=12, lr=0.05, weight_decay=5e-4, step=5, appearance_weight=0.3
        )
    options = parser.parse_args(arguments)
    if not options.demo and not options.stores:
        parser.error("name a store, or --demo")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Pretrain as the command line says."""
    options = parse(arguments)
    if options.demo:
        with tempfile.TemporaryDirectory(prefix="vstats-demo-") as folder:
            result = run_demo(Path(folder), options)
        if options.json:
            options.json.write_text(json.dumps(result, indent=1))
        if options.plot:
            draw(result, options.plot)
        return
    task, loader = prepare(options.stores, options, Filter())
    network = build(task, options)
    train(network, task, loader, options)


if __name__ == "__main__":
    main()
