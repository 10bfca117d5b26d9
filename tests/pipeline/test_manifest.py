"""Input understanding: every kind of list, as published and as made here, against files that are really there."""

import io
import itertools
import json
import os
import random
import string
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest import Manifest, key_of_path, manifest_digest, read_manifest, write_manifest
from vstats.pipeline.manifest.canonical import COLUMNS, FORMAT
from vstats.pipeline.manifest.naming import path_of_key, printable
from vstats.pipeline.records import ManifestRow

REPOSITORY = Path(__file__).resolve().parents[2]


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(folder: Path, text: str | bytes, name: str = "list.txt") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return str(path)


def keys(rows: Sequence[ManifestRow]) -> list[str]:
    return [row.key for row in rows]


def facts(manifest: Manifest) -> dict[str, tuple[int, str, tuple[int, ...] | None]]:
    return {
        row.key: (row.label, row.class_name, row.start_frames) for row in manifest.rows + manifest.missing
    }


# -- folders, globs, videos, standard input ---------------------------------------------------------------------


def test_a_folder_is_searched_through(tmp_path: Path) -> None:
    make(
        tmp_path,
        "b/2.MKV",
        "b/c/1.webm",
        "a.mp4",
        "a.txt",
        ".hidden.mp4",
        ".cache/x.mp4",
        "b/._2.mkv",
        "notes",
    )
    manifest = read_manifest([str(tmp_path)])
    assert (manifest.kind, manifest.root) == ("folder", str(tmp_path))
    assert keys(manifest.rows) == ["a.mp4", "b/2.MKV", "b/c/1.webm"]
    assert all(Path(row.path).is_file() and row.label == -1 for row in manifest.rows)
    assert (manifest.other_files, manifest.missing, manifest.notes) == (2, (), ())


def test_keys_are_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    names = ["\U0001f600.mp4", "\uffee.mp4", "é.mp4", "z.mp4", "Z.mp4", "a/b.mp4", "a.mp4"]
    make(tmp_path, *names)
    assert keys(read_manifest([str(tmp_path)]).rows) == sorted(names, key=lambda name: name.encode())


def test_links_are_followed_but_not_round_in_circles(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "v.mp4")
    make(tmp_path / "set", "a/w.mp4")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "broken.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "set" / "itself.mp4").symlink_to(tmp_path / "set" / "itself.mp4")
    assert keys(read_manifest([str(tmp_path / "set")]).rows) == ["a/w.mp4", "linked/v.mp4"]


def test_the_root_moves_the_keys(tmp_path: Path) -> None:
    make(tmp_path, "set/train/a.mp4")
    assert keys(read_manifest([str(tmp_path / "set" / "train")], root=str(tmp_path)).rows) == [
        "set/train/a.mp4"
    ]
    (tmp_path / "other").mkdir()
    with pytest.raises(ManifestError, match=r"a\.mp4' lies outside the root .*--root"):
        read_manifest([str(tmp_path / "set" / "train")], root=str(tmp_path / "other"))
    with pytest.raises(ManifestError, match="is not a folder"):
        read_manifest([str(tmp_path / "set")], root=str(tmp_path / "nowhere"))


def test_one_video_several_videos_and_a_glob(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "a/2.mp4", "b/1.mp4", "b/1.txt")
    one = read_manifest([str(tmp_path / "a" / "1.mp4")])
    assert (one.kind, one.root, keys(one.rows)) == ("video", str(tmp_path / "a"), ["1.mp4"])
    two = read_manifest([str(tmp_path / "a" / "1.mp4"), str(tmp_path / "b" / "1.mp4")])
    assert (two.kind, two.root, keys(two.rows)) == ("video", str(tmp_path), ["a/1.mp4", "b/1.mp4"])
    pattern = read_manifest([str(tmp_path / "*" / "1.*")])
    assert (pattern.kind, pattern.root, keys(pattern.rows)) == ("glob", str(tmp_path), ["a/1.mp4", "b/1.mp4"])
    assert pattern.other_files == 1
    twice = read_manifest([str(tmp_path / "a"), str(tmp_path / "a" / "*.mp4")])
    assert (twice.kind, twice.duplicates, keys(twice.rows)) == ("folder+glob", 2, ["1.mp4", "2.mp4"])


def test_relative_inputs_give_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "set/a.mp4")
    monkeypatch.chdir(tmp_path)
    for words in (["set"], ["./set/"], ["set/*.mp4"], ["set/a.mp4"], ["set/../set"]):
        manifest = read_manifest(words)
        assert keys(manifest.rows) == ["a.mp4"]
        assert manifest.rows[0].path == str(tmp_path / "set" / "a.mp4")


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.mp4", "sub/b.avi", os.fsdecode(b"caf\xe9.mp4"))
    monkeypatch.chdir(tmp_path)
    text = "./a.mp4\n./sub\nsub/b.avi\nREADME.md\n"
    manifest = read_manifest(["-"], stdin=io.StringIO(text))
    assert (manifest.kind, keys(manifest.rows), manifest.other_files) == ("paths", ["a.mp4", "sub/b.avi"], 2)
    strict = io.TextIOWrapper(io.BytesIO(b"caf\xe9.mp4\n"), encoding="utf-8", errors="strict")
    assert keys(read_manifest(["-"], stdin=strict).rows) == ["caf\\xe9.mp4"]
    with pytest.raises(ManifestError, match="standard input is empty"):
        read_manifest(["-"], stdin=io.StringIO("\n# nothing\n"))


# -- what is refused, and with which words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("# only\n\n# comments\n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"neither a list nor .* begins with the bytes b'.x89PNG"),
        ("1 ApplyEyeMakeup\n2 Archery\n", r"line 1: found '1 ApplyEyeMakeup'; no line names a video"),
        (
            "imgs 5 127\nimgs2 7 127\n",
            r"line 1: found 'imgs 5 127'; .*extracted frames .*--kind start-frames",
        ),
        ("imgs 2 5 127\n", "extracted frames"),
        ("a.mp4 0\n\nb.mp4\n", r"line 3: found 'b\.mp4'; .*'path label'.*--kind"),
        ("a.mp4 -2\n", "class index from 0, or -1"),
        ("../a.mp4\n", r"line 1: '\.\./a\.mp4' lies outside the root .*--root"),
        ("path,label\na.mp4,0,1\n", r"line 2: found 'a\.mp4,0,1'.*2 columns as in the header"),
        (
            '{"path": "a.mp4"}\n{"path": 3}\n',
            r"line 2: found '3'; column 'path' must hold the path of a video",
        ),
        ('{"path": "a.mp4"}\n{"path"\n', "line 2: .*no valid json"),
        ('{"name": "a.mp4"}\n', "has the columns name, none of which names the video"),
        ('{"path": "a.mp4", "label": 1.5}\n', "label is a class index"),
        ('{"path": "a.mp4", "start_frames": [-1]}\n', "first frames are whole numbers from 0"),
        ('{"path": "a\\ud800.mp4"}\n', "half a character"),
        ('[{"frame_dir": "x", "label": 0}]', "extracted frames"),
        ('[{"path": "a.mp4"', "no valid json"),
        ("[1, 2]", "array of objects"),
        (
            "label,youtube_id,time_start,time_end\nx,abc,one,2\n",
            "line 2: found 'x,abc,one,2'.*times in seconds",
        ),
        ("label,youtube_id,split\nx,abc,val\n", "also has the column time_end"),
        ('{"format":"vstats-manifest-1","classes":[]}\n{"key":"a.mp4"}\n', "does not follow it"),
        (b"PAR1 and then nothing", "damaged parquet"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        read_manifest([listed(tmp_path, content)])
    assert caught.value.exit_code == 2
    assert "list.txt" in str(caught.value)


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    for words, message in [
        ([], "no input"),
        ([str(tmp_path / "nowhere")], "is not there"),
        ([str(tmp_path / "*.mp4")], "nothing matches"),
        ([str(tmp_path)], r"no video in .*1 other file"),
        (["x" * 5000], "cannot look at"),
    ]:
        with pytest.raises(ManifestError, match=message):
            read_manifest(words)
    with pytest.raises(ManifestError, match="unknown kind 'avi'"):
        read_manifest([str(tmp_path)], kind="avi")


# -- path lists -------------------------------------------------------------------------------------------------


def test_paths_as_editors_and_systems_write_them(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp4", "a/2 b.mp4", "é.mp4", "odd\\name.mp4", "c/3.mp4")
    lines = [
        "a\\1.mp4",
        "",
        "# a comment",
        "'./a//2 b.mp4'",
        "é.mp4",
        "odd\\name.mp4",
        str(tmp_path / "c" / "3.mp4"),
        "no.mp4",
    ]
    for text in ("\n".join(lines), "\r\n".join(lines), "\ufeff" + "\r\n".join(lines), "\r".join(lines)):
        manifest = read_manifest([listed(tmp_path, text)])
        assert keys(manifest.rows) == ["a/1.mp4", "a/2 b.mp4", "c/3.mp4", "odd\\x5cname.mp4", "é.mp4"]
        assert keys(manifest.missing) == ["no.mp4"]
    utf16 = read_manifest([listed(tmp_path, "\r\n".join(lines).encode("utf-16"))])
    assert utf16.rows == manifest.rows


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"caf\xe9\n\\.mp4"
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).touch()
    manifest = read_manifest([str(tmp_path)])
    assert keys(manifest.rows) == ["caf\\xe9\\x0a\\x5c.mp4"]
    assert Path(manifest.rows[0].path).exists()
    for suffix in (".jsonl", ".csv", ".parquet"):
        write_manifest(manifest, tmp_path / f"out{suffix}")
        assert read_manifest([str(tmp_path / f"out{suffix}")]).rows == manifest.rows


def test_missing_and_duplicate_lines_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "b.mp4")
    manifest = read_manifest([listed(tmp_path, "b.mp4\na.mp4\n./b.mp4\ngone.mp4\ngone.mp4\n")])
    assert (keys(manifest.rows), keys(manifest.missing), manifest.duplicates) == (
        ["a.mp4", "b.mp4"],
        ["gone.mp4"],
        2,
    )
    nothing = read_manifest([listed(tmp_path, "x.mp4\n")])
    assert "none of the videos is there" in nothing.notes[0]


def test_a_list_outside_its_videos(tmp_path: Path) -> None:
    make(tmp_path / "videos", "a.mp4")
    (tmp_path / "lists").mkdir()
    text = str(tmp_path / "videos" / "a.mp4")
    with pytest.raises(ManifestError, match=r"lies outside the root .*--root"):
        read_manifest([listed(tmp_path / "lists", text)])
    manifest = read_manifest([str(tmp_path / "lists" / "list.txt")], root=str(tmp_path / "videos"))
    assert keys(manifest.rows) == ["a.mp4"]


# -- UCF101 -----------------------------------------------------------------------------------------------------

UCF101_CLASSES = "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n3 YoYo\r\n"
UCF101_TRAIN = (
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n"
    "YoYo/v_YoYo_g25_c05.avi 3\r\n"
)


def test_ucf101_train_and_test(tmp_path: Path) -> None:
    videos = [
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "HandstandPushups/v_HandstandPushups_g08_c01.avi",
    ]
    make(tmp_path / "UCF-101", *videos)
    root = str(tmp_path / "UCF-101")
    train = listed(tmp_path, UCF101_TRAIN, "trainlist01.txt")
    test = listed(
        tmp_path, UCF101_TRAIN.replace(" 1", "").replace(" 2", "").replace(" 3", ""), "testlist01.txt"
    )

    alone = read_manifest([train], root=root)
    assert alone.kind == "ucf101"
    assert alone.classes == ("ApplyEyeMakeup", "HandstandPushups", "YoYo")
    assert keys(alone.rows) == videos  # as on disk, though the list writes HandStandPushups
    assert keys(alone.missing) == ["YoYo/v_YoYo_g25_c05.avi"]
    assert [row.label for row in alone.rows + alone.missing] == [0, 1, 2]
    assert alone.notes == ("1 name matched only without regard to case",)

    unlabelled = read_manifest([test], root=root)
    assert {row.label for row in unlabelled.rows} == {-1}
    assert any("no classInd.txt lies beside it" in note for note in unlabelled.notes)

    listed(tmp_path, UCF101_CLASSES, "classInd.txt")
    assert facts(read_manifest([test], root=root)) == facts(alone)
    both = read_manifest([train, test], root=root)
    assert (both.rows, both.duplicates, both.classes) == (alone.rows, 3, alone.classes)
    elsewhere = listed(tmp_path, "ApplyEyeMakeup\nHandstandPushups\nYoYo\n", "names.txt")
    assert read_manifest([test], root=root, classes=elsewhere).rows == alone.rows
    assert (
        read_manifest([root], classes=elsewhere).rows == alone.rows
    )  # a folder too has classes when they are named


def test_hmdb51_splits(tmp_path: Path) -> None:
    make(tmp_path / "set", "wave/a.avi", "wave/b.avi", "run/c.avi", "run/d.avi")
    root = str(tmp_path / "set")
    wave = listed(tmp_path, "a.avi 1 \nb.avi 2 \n", "wave_test_split1.txt")
    run = listed(tmp_path, "c.avi 2 \nd.avi 1 \ne.avi 0 \n", "run_test_split1.txt")
    train = read_manifest([wave, run], root=root)
    assert (train.kind, keys(train.rows), train.missing) == ("hmdb51", ["run/d.avi", "wave/a.avi"], ())
    assert [row.class_name for row in train.rows] == ["run", "wave"]
    assert any("hmdb51-test takes the test videos" in note for note in train.notes)
    test = read_manifest([wave, run], root=root, kind="hmdb51-test")
    assert keys(test.rows) == ["run/c.avi", "wave/b.avi"]
    assert [row.label for row in test.rows] == [row.label for row in train.rows]


def test_ucf101_labels_that_contradict_the_class_list(tmp_path: Path) -> None:
    listed(tmp_path, UCF101_CLASSES, "classInd.txt")
    shifted = UCF101_TRAIN.replace("Pushups_g08_c01.avi 2", "Pushups_g08_c01.avi 3")
    with pytest.raises(
        ManifestError, match=r"line 2: the class is 'HandstandPushups', but label 2 is 'YoYo' in"
    ):
        read_manifest([listed(tmp_path, shifted)])
    with pytest.raises(ManifestError, match=r"label 3, but .*classInd.txt has only 3 classes"):
        read_manifest([listed(tmp_path, "YoYo/v_YoYo_g25_c05.avi 4\n")])


def test_ucf101_from_zero_says_so(tmp_path: Path) -> None:
    text = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 0\nYoYo/v_YoYo_g25_c05.avi 2\n"
    manifest = read_manifest([listed(tmp_path, text)])
    assert [row.label for row in manifest.missing] == [0, 2]
    assert manifest.classes == ("ApplyEyeMakeup", "", "YoYo")
    assert "label 0" in manifest.notes[0]


# -- path and label ---------------------------------------------------------------------------------------------


def test_path_label_splits_from_the_right(tmp_path: Path) -> None:
    make(tmp_path, "my video 2.mp4", "b.mp4", "c 3.MP4")
    manifest = read_manifest([listed(tmp_path, '"my video 2.mp4" 7\nb.mp4\t0\nc 3.MP4, 4\nno.mp4 -1\n')])
    assert manifest.kind == "path-label"
    assert [(row.key, row.label) for row in manifest.rows] == [
        ("b.mp4", 0),
        ("c 3.MP4", 4),
        ("my video 2.mp4", 7),
    ]
    assert manifest.missing[0].label == -1


def test_several_labels_are_none(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    manifest = read_manifest([listed(tmp_path, "b.mp4 2\na.mp4 0 3\nc.mp4 0 2 4\n")])
    assert manifest.kind == "multi-label"
    assert [row.label for row in manifest.rows + manifest.missing] == [-1, 2, -1]
    assert "2 videos with more than one label" in manifest.notes[0]
    contradicting = read_manifest([listed(tmp_path, "a.mp4 1\na.mp4 2\n")])
    assert (contradicting.rows[0].label, contradicting.duplicates) == (-1, 1)


def test_frame_counts_are_told_from_labels_and_start_frames(tmp_path: Path) -> None:
    assert (
        read_manifest([listed(tmp_path, "a.mp4 300 0\nb.mp4 250 0\na.mp4 300 0\n")]).kind
        == "path-frames-label"
    )
    assert read_manifest([listed(tmp_path, "a.mp4 0 3\nb.mp4 1 5\n")]).kind == "multi-label"
    assert read_manifest([listed(tmp_path, "a.mp4 0 3\na.mp4 16 3\n")]).kind == "start-frames"
    assert read_manifest([listed(tmp_path, "a 1 3\nb 1 3\n")]).kind == "start-frames"
    path = listed(tmp_path, "a.mp4 300 4\nb.mp4 250 4\n")
    assert {row.label for row in read_manifest([path]).missing} == {4}
    assert {row.label for row in read_manifest([path], kind="multi-label").missing} == {-1}


def test_start_frames_of_many_lines_become_one_row(tmp_path: Path) -> None:
    make(tmp_path, "A/v_A_g01_c01.avi", "A/v_a_g01_c02.mkv", "A/v_A_g01_c02.txt", "B/x.avi", "B/x.mp4")
    text = "A/v_A_g01_c01/ 17 0\nA/v_A_g01_c01/ 1 0\nA/v_A_g01_c01/ 17 0\nA/v_A_g01_c02 1 0\nB/x 33 1\nB/gone 1 1\n"
    manifest = read_manifest([listed(tmp_path, text)])
    assert manifest.kind == "start-frames"
    assert facts(manifest) == {
        "A/v_A_g01_c01.avi": (0, "", (0, 16)),
        "A/v_a_g01_c02.mkv": (0, "", (0,)),
        "B/x.avi": (1, "", (32,)),
        "B/gone": (1, "", (0,)),
    }
    assert manifest.duplicates == 1
    assert any("fitted several videos" in note for note in manifest.notes)
    assert any("1 name matched only" in note for note in manifest.notes)
    from_zero = read_manifest([listed(tmp_path, "B/x.avi 0 1\nB/x.avi 16 1\n")])
    assert (from_zero.rows[0].start_frames, "frame 0" in from_zero.notes[0]) == ((0, 16), True)


def test_absolute_paths_of_another_machine(tmp_path: Path) -> None:
    make(tmp_path, "A/v_A_g01_c01.avi", "B/v_B_g01_c01.avi")
    text = "".join(
        f"/media/6TB/UCF-101/{line}\n" for line in ("A/v_A_g01_c01 0", "B/v_B_g01_c01 1", "B/v_B_g09_c01 1")
    )
    manifest = read_manifest([listed(tmp_path, text)])
    assert [(row.key, row.label) for row in manifest.rows] == [
        ("A/v_A_g01_c01.avi", 0),
        ("B/v_B_g01_c01.avi", 1),
    ]
    assert keys(manifest.missing) == ["B/v_B_g09_c01"]
    assert "3 absolute paths looked for below the root" in manifest.notes[0]
    windows = text.replace("/media/6TB", "D:").replace("/", "\\")
    assert read_manifest([listed(tmp_path, windows)]).rows == manifest.rows
    nowhere = read_manifest([listed(tmp_path, "/x/y/a.mp4\nD:\\x\\b.mp4\n")])
    assert keys(nowhere.missing) == ["x/b.mp4", "x/y/a.mp4"]


def test_two_absolute_paths_never_become_one(tmp_path: Path) -> None:
    make(tmp_path, "v.mp4")
    manifest = read_manifest([listed(tmp_path, "/set/a/v.mp4\n/set/b/v.mp4\n")])
    assert keys(manifest.missing) == ["set/a/v.mp4", "set/b/v.mp4"]


# -- Kinetics ---------------------------------------------------------------------------------------------------

KINETICS = """label,youtube_id,time_start,time_end,split,is_cc
"arm wrestling",-0WZKTu0xKk,3,13,val,0
"arm wrestling",bcd,417,427,val,0
'abseiling',abc,0,10,val,1
zumba,"Abc",0,10,val,0
zumba,gone,1.0,11.0,val,0
"""


@pytest.mark.parametrize(
    "stored",
    [
        ["arm wrestling/-0WZKTu0xKk_000003_000013.mp4", "abseiling/abc_000000_000010.webm"],
        ["arm_wrestling/-0WZKTu0xKk_000003_000013.mkv", "abseiling/abc.mp4"],
        ["-0WZKTu0xKk_000003_000013.mp4", "abc_000000_000010.mp4"],
        ["val/arm_wrestling/-0WZKTu0xKk_000003_000013.mp4", "val/abseiling/abc_000000_000010.mp4"],
        ["-0WZKTu0xKk.avi", "val/abc.mp4"],
    ],
)
def test_kinetics_layouts(tmp_path: Path, stored: list[str]) -> None:
    make(tmp_path, *stored)
    manifest = read_manifest([listed(tmp_path, KINETICS, "val.csv")])
    assert manifest.kind == "kinetics"
    assert manifest.classes == ("abseiling", "arm wrestling", "zumba")
    by_key = facts(manifest)
    assert [by_key[key] for key in stored] == [(1, "arm wrestling", None), (0, "abseiling", None)]
    assert keys(manifest.missing) == [
        "arm wrestling/bcd_000417_000427.mp4",
        "zumba/Abc_000000_000010.mp4",  # never taken for abc: ids differ by case
        "zumba/gone_000001_000011.mp4",
    ]


def test_kinetics_classes_from_a_map(tmp_path: Path) -> None:
    path = listed(tmp_path, KINETICS, "val.csv")
    names = listed(tmp_path, "0 zumba\n1 arm_wrestling\n2 abseiling\n", "map.txt")
    manifest = read_manifest([path], classes=names)
    assert {row.class_name: row.label for row in manifest.missing} == {
        "zumba": 0,
        "arm_wrestling": 1,
        "abseiling": 2,
    }
    with pytest.raises(ManifestError, match=r"line 4: the class 'abseiling' is not in .*map.txt"):
        read_manifest([path], classes=listed(tmp_path, "zumba\narm wrestling\n", "map.txt"))


def test_kinetics_without_labels(tmp_path: Path) -> None:
    make(tmp_path, "abc_000001_000011.mp4")
    manifest = read_manifest(
        [listed(tmp_path, "youtube_id,time_start,time_end,split\nabc,1,11,test\n-x,2,12,test\n")]
    )
    assert facts(manifest) == {
        "abc_000001_000011.mp4": (-1, "", None),
        "-x_000002_000012.mp4": (-1, "", None),
    }
    assert manifest.classes == ()


def test_kinetics_large_lists_take_seconds(tmp_path: Path) -> None:
    # 20,000 clips; the full 240,000 take twelve times as long.
    draw = random.Random(0)
    lines = ["label,youtube_id,time_start,time_end,split"]
    for index in range(20_000):
        name, start = f"class {index % 400}", draw.randrange(300)
        identity = "".join(draw.choices(string.ascii_letters + "-_", k=11))
        lines.append(f'"{name}",{identity},{start},{start + 10},train')
        if index % 4 == 0:
            make(tmp_path, f"{name.replace(' ', '_')}/{identity}_{start:06d}_{start + 10:06d}.mp4")
    path = listed(tmp_path, "\n".join(lines), "train.csv")
    started = time.perf_counter()
    manifest = read_manifest([path])
    assert (
        time.perf_counter() - started < 5
    )  # 0.4 s on a quiet core: this is for a change of order, not of a percent
    assert (len(manifest.rows), len(manifest.missing), len(manifest.classes)) == (5_000, 15_000, 400)


# -- tables -----------------------------------------------------------------------------------------------------

TABLE = [
    {"path": "a.mp4", "label": 1, "class": "run", "start_frames": [16, 0]},
    {"path": "sub/b.mp4", "label": 0, "class": "jump", "start_frames": None},
    {"path": "gone.mp4", "label": None, "class": None, "start_frames": [5]},
]
TABLE_FACTS = {
    "a.mp4": (1, "run", (0, 16)),
    "sub/b.mp4": (0, "jump", None),
    "gone.mp4": (-1, "", (5,)),
}


def test_tables_say_the_same_in_every_form(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    make(tmp_path, "a.mp4", "sub/b.mp4")
    text = (
        "Path,Label,Class,Start_Frames,size\na.mp4,1,run,16 0,7\nsub/b.mp4,0.0,jump,,7\ngone.mp4,nan,,5,7\n"
    )
    parquet.write_table(pa.Table.from_pylist(TABLE), tmp_path / "t.parquet")
    forms = [
        listed(tmp_path, text, "t.csv"),
        listed(tmp_path, text.replace(",", "\t"), "t.tsv"),
        listed(tmp_path, text.replace(",", ";"), "t2.csv"),
        listed(tmp_path, "\n".join(map(json.dumps, TABLE)), "t.jsonl"),
        listed(tmp_path, json.dumps(TABLE, indent=2), "t.json"),
        str(tmp_path / "t.parquet"),
    ]
    for path in forms:
        manifest = read_manifest([path])
        assert facts(manifest) == TABLE_FACTS, path
        assert keys(manifest.missing) == ["gone.mp4"]
        assert manifest.classes == ("jump", "run")


def test_tables_with_other_columns(tmp_path: Path) -> None:
    by_key = read_manifest([listed(tmp_path, "key,label\na\\x5cb.mp4,run\nc.mp4,jump\n", "t.csv")])
    assert facts(by_key) == {"a\\x5cb.mp4": (1, "run", None), "c.mp4": (0, "jump", None)}
    assert "sorted order" in by_key.notes[0]
    rows = [{"video": "a.mp4", "key": "x", "start_frame": s, "split": "train"} for s in (32, 0)]
    by_video = read_manifest([listed(tmp_path, "\n".join(map(json.dumps, rows)))])
    assert facts(by_video) == {"a.mp4": (-1, "", (0, 32))}
    assert ["'split'" in by_video.notes[0], "'key'" in by_video.notes[1]] == [True, True]
    header = read_manifest([listed(tmp_path, 'filename,label\n"a, b.mp4",3\n')])
    assert facts(header) == {"a, b.mp4": (3, "", None)}


def test_mmaction2_json_of_cut_videos(tmp_path: Path) -> None:
    make(tmp_path, "raw/part_0.mp4")
    items = [{"video_dir": "raw", "label": 1, "num_clips": 2, "positive_clip_inds": [0]}]
    manifest = read_manifest([listed(tmp_path, json.dumps(items))])
    assert (keys(manifest.rows), keys(manifest.missing)) == (["raw/part_0.mp4"], ["raw/part_1.mp4"])


# -- class lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "run\njump high\n",
        "0 run\n1 jump_high\n",
        "1 run\r\n2 jump high\r\n",
        "id,name\n0,run\n1,jump high\n",
        '["run", "jump high"]',
        '{"run": 0, "\\"jump high\\"": 1}',
        '{"0": "run", "1": "jump high"}',
    ],
)
def test_class_lists_in_every_form(tmp_path: Path, text: str) -> None:
    make(tmp_path, "set/Jump_High/a.mp4", "set/run/x/b.mp4", "set/other/c.mp4")
    manifest = read_manifest([str(tmp_path / "set")], classes=listed(tmp_path, text))
    assert [(row.key, row.label) for row in manifest.rows] == [
        ("Jump_High/a.mp4", 1),
        ("other/c.mp4", -1),
        ("run/x/b.mp4", 0),
    ]
    assert manifest.notes == ("1 line in no folder that is named like a class: the label is -1",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 a\n2 b\n", "gaps"),
        ("a\nA\n", "twice"),
        ("\n", "no class names"),
        ('{"a": "x"}', "no class list in json"),
    ],
)
def test_class_lists_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    make(tmp_path, "set/a.mp4")
    with pytest.raises(ManifestError, match=words):
        read_manifest([str(tmp_path / "set")], classes=listed(tmp_path, text))


# -- the canonical form and the digest --------------------------------------------------------------------------

_names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
_bytes = st.binary(min_size=1, max_size=6).map(
    lambda raw: os.fsdecode(raw.replace(b"/", b"").replace(b"\0", b""))
)
_parts = st.one_of(_names, _bytes).filter(lambda part: part not in ("", ".", ".."))
_paths = st.lists(_parts, min_size=1, max_size=3).map("/".join)
_starts = st.none() | st.sets(st.integers(0, 2**40), min_size=1, max_size=4).map(lambda s: tuple(sorted(s)))
_rows = st.tuples(st.integers(-1, 5), st.text(st.characters(), max_size=6).map(printable), _starts)


@settings(max_examples=40, deadline=None)
@given(
    videos=st.dictionaries(_paths, _rows, max_size=6),
    classes=st.sets(st.from_regex("[a-z]{1,6}", fullmatch=True)),
)
def test_reading_what_was_written(
    videos: dict[str, tuple[int, str, tuple[int, ...] | None]], classes: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rows, missing = [], []
        for path, (label, class_name, starts) in sorted(
            videos.items(), key=lambda item: key_of_path(item[0])
        ):
            row = ManifestRow(
                key=key_of_path(path),
                path=f"{root}/{path}",
                label=label,
                class_name=class_name,
                start_frames=starts,
            )
            try:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).touch(exist_ok=False)
                rows.append(row)
            except OSError:  # another video is a folder of this path: then this one is missing
                missing.append(row)
        manifest = Manifest(
            source="made",
            kind="canonical",
            root=str(root),
            rows=tuple(rows),
            missing=tuple(missing),
            classes=tuple(sorted(classes)),
        )
        if not videos:
            write_manifest(manifest, root / "empty.parquet")
            return
        for suffix in (".jsonl", ".csv", ".parquet"):
            path = str(root / f".out{suffix}")
            write_manifest(manifest, path)
            again = read_manifest([path])
            assert replace(again, source="made", notes=()) == manifest
            assert manifest_digest(again) == manifest_digest(manifest)


@given(path=_paths)
def test_keys_lead_back_to_their_path(path: str) -> None:
    key = key_of_path(path)
    assert path_of_key(key) == path
    assert key.encode().decode() == key
    assert not any(ord(letter) < 32 for letter in key)
    assert key.count("/") == path.count("/")


def test_classes_that_differ_by_case_alone_survive(tmp_path: Path) -> None:
    manifest = read_manifest([listed(tmp_path, "path,label,class\na.mp4,0,a\nb.mp4,1,A\n")])
    assert manifest.classes == ("a", "A")
    write_manifest(manifest, tmp_path / "m.csv")
    assert replace(read_manifest([str(tmp_path / "m.csv")]), kind="csv", source=manifest.source) == manifest


def test_the_digest_depends_on_what_is_asked_for_alone(tmp_path: Path) -> None:
    lines = ["A/a.mp4 1 0", "A/a.mp4 17 0", "B/b.mp4 1 1", "B/gone.mp4 33 1"]
    digests = set()
    for number, order in enumerate(itertools.permutations(lines)):
        root = tmp_path / str(number)
        make(root, "A/a.mp4", "B/b.mp4")
        digests.add(manifest_digest(read_manifest([listed(root, "\n".join(order))])))
    assert len(digests) == 1
    manifest = read_manifest([listed(root, "\n".join(lines))])
    row = manifest.rows[0]
    others = [replace(row, key="A/c.mp4"), replace(row, label=3), replace(row, start_frames=None)]
    others_digests = {
        manifest_digest(replace(manifest, rows=(other, *manifest.rows[1:]))) for other in others
    }
    found_now = replace(manifest, rows=(*manifest.rows, *manifest.missing), missing=())
    assert len(digests | others_digests | {manifest_digest(found_now)}) == 5


def test_writing_is_refused_under_another_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    manifest = read_manifest([str(tmp_path)])
    with pytest.raises(ManifestError, match=r"\.jsonl, \.csv, \.parquet"):
        write_manifest(manifest, tmp_path / "m.txt")
    with pytest.raises(ManifestError, match="cannot write"):
        write_manifest(manifest, tmp_path / "nowhere" / "m.csv")


def test_the_schema_is_what_is_written() -> None:
    schema = json.loads((REPOSITORY / "manifests" / "schema.json").read_text())
    assert schema["title"] == schema["$defs"]["header"]["properties"]["format"]["const"] == FORMAT
    assert tuple(schema["$defs"]["video"]["required"]) == COLUMNS
    readme = (REPOSITORY / "manifests" / "README.md").read_text()
    assert all(f"| `{column}` |" in readme for column in COLUMNS)


# -- the published files as they are ----------------------------------------------------------------------------


@pytest.fixture
def splits(data_dir: Path) -> Path:
    return data_dir / "splits"


def published(splits: Path, name: str, **options: str) -> Manifest:
    return read_manifest([str(splits / name)], **options)  # type: ignore[arg-type]


def test_published_ucf101(splits: Path) -> None:
    train = published(splits, "ucf101_trainlist01.txt")
    test = published(splits, "ucf101_testlist01.txt")
    for manifest, count in ((train, 9537), (test, 3783)):
        assert (manifest.kind, len(manifest.missing), manifest.duplicates) == ("ucf101", count, 0)
        assert (len(manifest.classes), manifest.classes[36]) == (101, "HandstandPushups")
        assert {row.label for row in manifest.missing} == set(range(101))
        assert all(row.class_name == row.key.split("/")[0] for row in manifest.missing)
    assert (train.missing[0].key, train.missing[0].label) == (
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        0,
    )
    assert (test.missing[-1].key, test.missing[-1].label) == ("YoYo/v_YoYo_g07_c04.avi", 100)


def test_published_kinetics(splits: Path) -> None:
    named = splits / "kinetics-400_label_map_mmaction2.txt"
    manifest = published(splits, "kinetics-400_val.csv", classes=str(named))
    assert (manifest.kind, len(manifest.missing), len(manifest.classes)) == ("kinetics", 19906, 400)
    assert sum(row.key.split("/")[1].startswith("-") for row in manifest.missing) == 644
    assert {row.label for row in manifest.missing} == set(range(400))
    assert not any('"' in row.class_name for row in manifest.missing)
    by_key = facts(manifest)
    assert by_key["abseiling/0wR5jVB-WPk_000417_000427.mp4"] == (0, "abseiling", None)
    assert by_key["zumba/ZVDR2od1gn8_000037_000047.mp4"] == (399, "zumba", None)
    # The sorted names of the whole list, and PaddlePaddle's numbered ones, are the same classes.
    assert published(splits, "kinetics-400_val.csv").missing == manifest.missing
    paddle = published(
        splits, "kinetics-400_val.csv", classes=str(splits / "kinetics-400_label_list_paddle.txt")
    )
    assert [row.label for row in paddle.missing] == [row.label for row in manifest.missing]
    assert paddle.classes[1] == "air_drumming"


def test_published_c3d(splits: Path, tmp_path: Path) -> None:
    windows = published(splits, "c3d_v1.1_ucf101_test_01.lst")
    assert (windows.kind, len(windows.missing), windows.duplicates) == ("start-frames", 3783, 0)
    assert sum(len(row.start_frames or ()) for row in windows.missing) == 41822
    assert all(
        row.start_frames == tuple(range(0, 16 * len(row.start_frames), 16))
        for row in windows.missing
        if row.start_frames
    )
    tensorflow = published(splits, "c3dtf_ucf101_test.list")
    assert (tensorflow.kind, len(tensorflow.missing)) == ("path-label", 3783)
    make(tmp_path, "YoYo/v_YoYo_g07_c04.avi")
    found = published(splits, "c3dtf_ucf101_test.list", root=str(tmp_path))
    assert [(row.key, row.label) for row in found.rows] == [("YoYo/v_YoYo_g07_c04.avi", 100)]
    assert found.missing[0].key == "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01"
    # The two lists are of one test split, so they agree on every label.
    assert [(row.key, row.label) for row in found.missing] == [
        (row.key, row.label) for row in windows.missing[:-1]
    ]


def test_published_small_lists(splits: Path) -> None:
    paddle = published(splits, "paddle_k400_val_small_frames.list")
    assert (paddle.kind, len(paddle.missing), paddle.duplicates) == ("path-frames-label", 16, 184)
    assert (paddle.missing[0].key, paddle.missing[0].label) == ("abseiling/_4YTwq0-73Y_000044_000054.mp4", 0)
    assert {row.label for row in paddle.missing} == {0, 1}
    multi = published(splits, "mmaction2_video_test_list_multi_label.txt")
    assert (multi.kind, [(row.key, row.label) for row in multi.missing]) == (
        "multi-label",
        [("test.mp4", -1)],
    )
    raw = published(splits, "mmaction2_rawvideo_test_anno.json")
    assert [(row.key, row.label) for row in raw.missing] == [
        ("rawvideo_dataset/part_0.mp4", 1),
        ("rawvideo_dataset/part_1.mp4", 1),
    ]
    for name in ("mmaction2_rawframe_test_list.txt", "mmaction2_rawframe_test_list_with_offset.txt"):
        with pytest.raises(ManifestError, match="extracted frames"):
            published(splits, name)


def test_published_class_lists(splits: Path, tmp_path: Path) -> None:
    make(tmp_path, "wave/a.mp4", "brush_hair/b.mp4")
    manifest = read_manifest([str(tmp_path)], classes=str(splits / "hmdb51_class_list.txt"))
    assert (len(manifest.classes), [row.label for row in manifest.rows]) == (51, [0, 50])
    for name in ("hmdb51_class_list.txt", "ucf101_classInd.txt", "kinetics-400_label_map_mmaction2.txt"):
        with pytest.raises(ManifestError, match="no line names a video"):
            published(splits, name)


def test_published_videos(data_dir: Path) -> None:
    assert len(read_manifest([str(data_dir / "videos")]).rows) == 37
    assert len(read_manifest([str(data_dir / "broken")]).rows) == 17
    with pytest.raises(ManifestError, match="no video in"):
        read_manifest([str(data_dir / "flow")])
