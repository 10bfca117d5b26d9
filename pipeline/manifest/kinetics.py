"""The CSV files of Kinetics-400, -600 and -700."""

import csv

from vstats.pipeline.manifest.classes import ClassMap
from vstats.pipeline.manifest.model import Entry, Parsed
from vstats.pipeline.manifest.source import ListFile


def is_kinetics(source: ListFile) -> bool:
    """The header names a youtube_id."""
    return "youtube_id" in source.lines[0][1].replace('"', "").replace(" ", "").casefold().split(",")


def parse_kinetics(source: ListFile, _: ClassMap | None) -> Parsed:
    """``label,youtube_id,time_start,time_end,split[,is_cc]``, with and without the label.

    A clip is looked for under its usual names: in a folder of its class (spaces kept or as '_') or in none, in a
    folder of its split or in none, as ``<id>_<start>_<end>`` or as ``<id>``, with any video extension.
    """
    numbers = [number for number, _ in source.lines]
    reader = csv.reader(line for _, line in source.lines)
    header = [name.strip().casefold() for name in next(reader)]
    at = {name: header.index(name) for name in header}
    if missing := {"time_start", "time_end"} - set(at):
        raise source.error(
            numbers[0], ",".join(header), f"a Kinetics csv also has the column {sorted(missing)[0]}"
        )
    places: dict[tuple[str, str], tuple[str, ...]] = {}
    entries = []
    for cells in reader:
        line = numbers[reader.line_num - 1]
        try:
            video = cells[at["youtube_id"]].strip()
            start, end = (round(float(cells[at[name]])) for name in ("time_start", "time_end"))
        except (ValueError, IndexError):
            wanted = f"the columns of the header ({','.join(header)}) with times in seconds"
            raise source.error(line, ",".join(cells), wanted) from None
        label = cells[at["label"]].strip(" \"'") if "label" in at and len(cells) > at["label"] else ""
        split = cells[at["split"]].strip() if "split" in at and len(cells) > at["split"] else ""
        if (label, split) not in places:
            places[label, split] = _places(label, split)
        stem = f"{video}_{start:06d}_{end:06d}"
        name = f"{label}/{stem}.mp4" if label else f"{stem}.mp4"
        entries.append(Entry(name, line, (), label, folders=places[label, split], stems=(stem, video)))
    return Parsed(entries=entries)


def _places(label: str, split: str) -> tuple[str, ...]:
    """Return the folders that a clip of this class and split may lie in, the likeliest first."""
    classes = dict.fromkeys([label, label.replace(" ", "_"), ""])
    return tuple(
        "/".join(filter(None, (top, name))) for top in dict.fromkeys(["", split]) for name in classes
    )
