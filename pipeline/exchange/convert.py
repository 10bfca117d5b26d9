"""Whole stores and folders of flow from one form to another."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from vstats.pipeline import store as stores
from vstats.pipeline.errors import UsageError
from vstats.pipeline.exchange import flow as flow_files
from vstats.pipeline.exchange.rows import Block, Blocks, Header, blocks_of, chosen_arrays, header_of, rebuild
from vstats.pipeline.manifest import path_of_key
from vstats.pipeline.store import Store

F32 = npt.NDArray[np.float32]

LABEL_FORMS = ("hdf5", "parquet", "webdataset")
FLOW_FORMS = ("denseflow", "flo", "flow-hdf5")
BOUND = 20.0
"""Pixels that 8-bit flow spans on either side: denseflow's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What was written: where, in which form, how many rows or clips, and a new store's digest."""

    output: str
    form: str
    count: int
    digest: str = ""


def export_labels(
    source: str | Path, output: str | Path, form: str, *, save: Sequence[str] | None = None
) -> Exchanged:
    """Write a finished store as one HDF5 file, one Parquet table, or a folder of WebDataset tars.

    Parameters
    ----------
    source : path
        The store.
    output : path
        The file or folder to write.
    form : {"hdf5", "parquet", "webdataset"}
        Its form.
    save : sequence of {"clips", "flow", "statistics"}, optional
        What to write beside index and labels; default: what the store has and the form carries.

    Raises
    ------
    NotAStore, NotCommitted, StoreError
        The store cannot be read, or the disk refused.
    UsageError
        Something is asked for that the store does not have or the form cannot carry.
    """
    module = _labels(form)
    store = Store.open(source)
    arrays = chosen_arrays(store, save, module.CARRIES)
    module.write(header_of(store, arrays), blocks_of(store, arrays), Path(output))
    return Exchanged(output=str(output), form=form, count=store.rows)


def import_labels(source: str | Path, output: str | Path, form: str) -> Exchanged:
    """Make a store of what `export_labels` wrote; exported whole, it has the digest of the store that it came from.

    Raises
    ------
    UsageError
        The source is of another form, or there is something at `output`.
    StoreError
        The source is damaged, or the disk refused.
    """
    header, blocks = _labels(form).read(Path(source))
    digest = rebuild(header, blocks, output)
    return Exchanged(output=str(output), form=form, count=header.plan.rows, digest=digest)


def export_flow(source: str | Path, output: str | Path, form: str, *, bound: float = BOUND) -> Exchanged:
    """Write the flow that a store keeps: of each labelled row a folder or data set ``KEY/ROW``.

    It is the flow of the row's crop, mirrored where the row is; float16 in the store.

    Parameters
    ----------
    source, output : path
        The store, and the folder (or HDF5 file) to write.
    form : {"denseflow", "flo", "flow-hdf5"}
        JPEG pairs of 8 bits, .flo files, or one HDF5 file.
    bound : float
        Pixels that 8 bits span on either side.
    """
    store = Store.open(source)
    if "flow" not in store.plan.config.save:
        raise UsageError(f"{store.place} keeps no flow; extract with --save flow")
    return Exchanged(
        output=str(output), form=form, count=_write_flows(_stored_flows(store), Path(output), form, bound)
    )


def import_flow(
    source: str | Path, output: str | Path, form: str, to: str = "flow-hdf5", *, bound: float = BOUND
) -> Exchanged:
    """Write the flow of every clip below a folder, or in an HDF5 file, in another form.

    Parameters
    ----------
    source, output : path
        What to read and write.
    form, to : {"denseflow", "flo", "flow-hdf5"}
        The form of each.
    bound : float
        Pixels that 8 bits span on either side.
    """
    count = _write_flows(read_flows(Path(source), form, bound), Path(output), to, bound)
    if not count:
        raise UsageError(f"{source} holds no flow in the form {form}")
    return Exchanged(output=str(output), form=to, count=count)


def read_flows(source: Path, form: str, bound: float = BOUND) -> Iterator[tuple[str, F32]]:
    """Yield (name, float32 [F, H, W, 2]) of every clip in a folder or file."""
    if form == "flow-hdf5":
        from vstats.pipeline.exchange import hdf5

        yield from hdf5.read_flows(source)
        return
    if not source.is_dir():
        raise UsageError(f"{source} is no folder")
    patterns: dict[str, tuple[str, Callable[[Path], F32]]] = {
        "denseflow": ("flow_x_*.jpg", lambda folder: flow_files.read_denseflow(folder, bound)),
        "flo": ("*.flo", flow_files.read_flo_folder),
    }
    pattern, read = patterns[form]
    for folder in flow_files.folders_with(source, pattern):
        name = str(folder.relative_to(source))
        yield (source.name if name == "." else name), read(folder)


def form_of(source: str | Path) -> str:
    """Return the form of a file or folder, judged by what it holds.

    Raises
    ------
    UsageError
        It is of none, or cannot be read.
    """
    path = Path(source)
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except IsADirectoryError:
        head = b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith(b"PAR1"):
        return "parquet"
    if head == b"\x89HDF\r\n\x1a\n":
        from vstats.pipeline.exchange import hdf5

        return "hdf5" if hdf5.holds_store(path) else "flow-hdf5"
    if (path / "vstats.json").is_file():
        return "webdataset"
    for form, pattern in (("denseflow", "flow_x_*.jpg"), ("flo", "*.flo")):
        if next(path.rglob(pattern), None) is not None:
            return form
    raise UsageError(f"{path} is of no form that is known; say with --format which it is")


def _stored_flows(store: Store) -> Iterator[tuple[str, npt.NDArray[np.float16]]]:
    for shard in range(store.plan.shards):
        start, stop = store.plan.shard_rows(shard)
        status, video = store.read(stores.STATUS.name, start, stop), store.read("index/video", start, stop)
        flow = store.read("flow", start, stop)
        for place in np.flatnonzero(status == stores.STATUS_OK).tolist():
            yield f"{path_of_key(store.videos[video[place]].key)}/{start + place:09d}", flow[place]


def _write_flows(
    flows: Iterator[tuple[str, npt.NDArray[np.floating]]], output: Path, form: str, bound: float
) -> int:
    if form == "flow-hdf5":
        from vstats.pipeline.exchange import hdf5

        return hdf5.write_flows(flows, output)
    count = 0
    for name, flow in flows:
        if form == "denseflow":
            flow_files.write_denseflow(flow, output / name, bound)
        else:
            flow_files.write_flo(flow, output / name)
        count += 1
    return count


class _Form(Protocol):
    """What a module of a form of labels offers."""

    CARRIES: tuple[str, ...]

    def write(self, header: Header, blocks: Iterable[Block], output: Path) -> None: ...

    def read(self, source: Path) -> tuple[Header, Blocks]: ...


def _labels(form: str) -> _Form:
    if form not in LABEL_FORMS:
        raise UsageError(f"{form!r} is no form of labels; choose {', '.join(LABEL_FORMS)}")
    return cast(_Form, import_module(f"vstats.pipeline.exchange.{form}"))
