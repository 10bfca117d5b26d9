"""Proof that the labels teach: pretrain a small 3D-ResNet on labels of made videos, and see what it knows of others.

    python examples/demo.py --plot learned.png       # 17 minutes on 2 cores, 5 GB of temporary disk

Draws videos of textured shapes that move in one of four directions over moving backgrounds, labels them with vstats, and
pretrains on four fifths of them. On the rest, which it never saw, it reports the accuracy of every label beside that of
always saying the commonest, and how well a linear probe on the frozen features tells the four directions apart, beside the
same probe on the same network with random weights. Nobody told it the directions: it saw labels alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pretrain
import torch
from moving_shapes import DIRECTIONS, HEIGHT, WIDTH, make_videos
from probe import adapt, label_accuracy, probe

from vstats.pipeline.loader import ClipDataset, ClipLoader, Filter, in_share

HELD_OUT = 0.2
"""Share of the videos that are never trained on."""

EXTRACT = f"--frame-size {HEIGHT}x{WIDTH} --crop-size 56 --crops random:3 --save clips --shard-size 128"
PRETRAIN = "--loss classes --small 8 --lr 0.3 --weight-decay 5e-4 --step 2"


def label_videos(folder: Path, count: int, seed: int, workers: int) -> Path:
    """Draw videos, label them, and return the store."""
    names = make_videos(folder / "videos", count, seed)
    classes = list(DIRECTIONS)
    lines = (f"{name} {classes.index(name.partition('/')[0])}\n" for name in names)
    (folder / "list.txt").write_text("".join(lines))
    store = folder / "demo.vstats"
    inputs = f"{folder / 'list.txt'} --root {folder / 'videos'} -o {store} --workers {workers} {EXTRACT}"
    command = [sys.executable, "-m", "vstats.cli", "extract", *inputs.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return store


def learn(store: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Pretrain on a store and return what was learned."""
    keys = set(ClipDataset(store).keys)
    unseen = {key for key in keys if in_share(key, share=HELD_OUT, seed=seed)}
    options = pretrain.parse([str(store), *PRETRAIN.split(), "--epochs", str(epochs), "--seed", str(seed)])
    network, task, loader = pretrain.prepare(options, Filter(keys=keys - unseen))
    training = ClipLoader(loader.dataset, 64, shuffle=False)
    held_out = ClipLoader(ClipDataset(store, where=Filter(keys=unseen)), 64, shuffle=False)
    random = adapt(pretrain.new_network(network.shape, options.device, seed), training)
    pretrain.train(network, task, loader, options)
    return {
        "labels": label_accuracy(network, task, training, held_out),
        "probe": {"pretrained": probe(network, training, held_out), "random": probe(random, training, held_out)},
        "training_clips": len(loader.dataset),
        "held_out_clips": len(held_out.dataset),
    }  # fmt: skip


def report(result: dict[str, Any]) -> None:
    """Print what was learned."""
    print(f"\n{'label, on held-out videos':36} {'accuracy':>9} {'commonest':>9}")
    lines = result["labels"]
    for family in dict.fromkeys(line["label"].partition("_")[0] for line in lines):
        mine = [line for line in lines if line["label"].startswith(family)]
        mean = {name: sum(line[name] for line in mine) / len(mine) for name in ("accuracy", "majority")}
        for line in [*mine, {"label": f"mean, {family}", **mean}]:
            print(f"{line['label']:36} {line['accuracy']:9.1%} {line['majority']:9.1%}")
    found = result["probe"]
    print(
        f"\nlinear probe, 4 directions: {found['pretrained']:.1%} pretrained, {found['random']:.1%} random weights"
    )


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw accuracy by label, and the probe."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lines, found = result["labels"], result["probe"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=[5, 1], layout="constrained")
    at = range(len(lines))
    for shift, name, colour, what in (
        (-0.2, "accuracy", "#2166ac", "pretrained 3D-ResNet"),
        (0.2, "majority", "#bdbdbd", "always the commonest label"),
    ):
        left.bar([x + shift for x in at], [line[name] for line in lines], 0.4, color=colour, label=what)
    names = [line["label"].replace("pattern_", "p") for line in lines]
    left.set_xticks(at, names, rotation=60, ha="right", fontsize=7)
    left.set(ylim=(0, 1.12), ylabel="accuracy, held-out videos", title="Labels predicted from pixels")
    left.legend(frameon=False, loc="upper center", ncols=2)  # above the tallest bar
    right.bar([0, 1], [found["pretrained"], found["random"]], 0.7, color=["#2166ac", "#bdbdbd"])
    right.axhline(1 / len(DIRECTIONS), color="black", linewidth=0.8, linestyle=":")
    right.set_xticks([0, 1], ["pretrained", "random\nweights"], fontsize=8)
    right.set(ylim=(0, 1), title="Linear probe,\n4 directions")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--videos", type=int, default=8000, help="how many to draw; 0.65 MB each while it runs")
    add("--epochs", type=int, default=3)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2, help="as many give the same result again")
    add("--plot", type=Path, help="draw the result into this file (needs matplotlib)")
    add("--json", type=Path, help="write the figures into this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the demo as the command line says."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vstats-demo-") as folder:
        store = label_videos(Path(folder), options.videos, options.seed, options.threads)
        print(
            f"{options.videos} videos drawn and labelled in {time.perf_counter() - began:.0f} s", flush=True
        )
        result = learn(store, options.epochs, options.seed)
    report(result)
    print(f"{time.perf_counter() - began:.0f} s, {options.threads} threads, seed {options.seed}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    if options.plot:
        draw(result, options.plot)


if __name__ == "__main__":
    main()
