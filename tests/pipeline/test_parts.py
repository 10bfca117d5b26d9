"""Parts of a manifest: every video in one of them, whatever the order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstats.kernels.errors import InputError
from vstats.pipeline.manifest import Manifest
from vstats.pipeline.parts import Part, parse_part, select
from vstats.pipeline.records import ManifestRow

KEYS = st.lists(st.text(min_size=1).filter(lambda key: key.isprintable()), unique=True)


def manifest(found: list[str], missing: list[str] | None = None) -> Manifest:
    def rows(keys: list[str]) -> tuple[ManifestRow, ...]:
        return tuple(ManifestRow(key=key, path=f"/videos/{key}") for key in keys)

    return Manifest(
        source="list", kind="paths", root="/videos", rows=rows(found), missing=rows(missing or [])
    )


@given(KEYS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_every_video_is_in_exactly_one_part_whatever_the_order(
    keys: list[str], of: int, random: object
) -> None:
    half = len(keys) // 2
    parts = [select(manifest(keys[:half], keys[half:]), Part(number=n + 1, of=of)) for n in range(of)]
    assert sorted(row.key for part in parts for row in part.rows) == sorted(keys[:half])
    assert sorted(row.key for part in parts for row in part.missing) == sorted(keys[half:])
    shuffled = list(keys)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for number, part in enumerate(parts, start=1):
        again = select(manifest(shuffled), Part(number=number, of=of))
        assert {row.key for row in again.rows} == {row.key for row in (*part.rows, *part.missing)}


def test_parts_are_balanced_and_never_change() -> None:
    keys = [f"class {n % 40}/video_{n:05d}.mp4" for n in range(8000)]
    sizes = [sum(Part(number=n, of=8).holds(key) for key in keys) for n in range(1, 9)]
    assert sum(sizes) == 8000
    assert all(880 < size < 1120 for size in sizes)
    # The part of a key is a promise: jobs of one array may run under different releases.
    assert [next(n for n in range(1, 9) if Part(number=n, of=8).holds(key)) for key in keys[:6]] == FIRST_SIX


FIRST_SIX = [6, 1, 6, 8, 1, 2]


def test_a_part_says_which_one_it_is() -> None:
    chosen = select(manifest(["a.mp4"]), parse_part("1/1"))
    assert chosen.source == "list (part 1/1)"
    assert chosen.rows == manifest(["a.mp4"]).rows


@pytest.mark.parametrize(
    "text", ["3", "3/", "0/8", "9/8", "-1/8", "3/8/2", "1.5/8", "a/b", "", "\u0661/\u0662"]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"part"):
        parse_part(text)


def test_parts_that_slurm_names() -> None:
    assert parse_part("3/8") == Part(number=3, of=8)
    assert parse_part("08/8") == Part(number=8, of=8)
