"""What every place of a store's files holds to: written once, run over a folder, memory and an S3 server."""

import hashlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vstats.kernels.errors import BackendUnavailable
from vstats.pipeline.errors import StoreError, UsageError
from vstats.pipeline.place import LocalPlace, ObjectPlace, Place, check_workers_see, open_place


class PlaceTests:
    """The behaviour of a place; a subclass supplies `place`, where nothing is yet."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    def test_nothing_is_there_at_first(self, place: Place) -> None:
        assert place.entries() is None
        assert place.sizes() == {}
        assert place.sizes("folder") == {}
        assert not place.exists("a")

    def test_what_is_written_is_read(self, place: Place) -> None:
        place.prepare()
        for content in (b"", b"first", bytes(range(256)) * 40_000):
            place.write("folder/a", content)
            assert place.read("folder/a") == content
            assert place.size("folder/a") == len(content)
            assert place.sha256("folder/a") == hashlib.sha256(content).hexdigest()
        assert place.exists("folder/a")
        assert not place.exists("folder")
        assert not place.exists("folder/b")

    def test_listings_know_folders(self, place: Place) -> None:
        for name in ("b/two", "a/x/one", "ab/three", "top", "a/last"):
            place.write(name, name.encode())
        expected = {"a/last": 6, "a/x/one": 7, "ab/three": 8, "b/two": 5, "top": 3}
        assert place.sizes() == expected
        assert list(place.sizes()) == sorted(expected)
        assert place.sizes("a") == {"a/last": 6, "a/x/one": 7}
        assert place.entries() == {"a", "ab", "b", "top"}

    def test_what_is_removed_is_gone(self, place: Place) -> None:
        for name in ("a/x/one", "a/two", "ab/three", "top"):
            place.write(name, b"1")
        place.delete("top")
        place.delete("top")
        place.remove("a")
        place.remove("a")
        assert place.sizes() == {"ab/three": 1}
        place.remove()
        assert place.sizes() == {}
        assert place.entries() is None

    def test_missing_files_are_named(self, place: Place) -> None:
        place.write("here", b"1")
        for look in (place.read, place.size, place.sha256):
            with pytest.raises(StoreError, match="nowhere/file"):
                look("nowhere/file")

    def test_of_many_creators_one_succeeds_and_its_content_is_whole(self, place: Place) -> None:
        place.prepare()
        start = threading.Barrier(8)

        def create(number: int) -> bool:
            start.wait()
            return place.create("lock/000001", str(number).encode() * 1000)

        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(create, range(8)))
        assert made.count(True) == 1
        assert place.read("lock/000001") == str(made.index(True)).encode() * 1000
        assert list(place.sizes()) == ["lock/000001"]
        place.delete("lock/000001")
        assert place.create("lock/000001", b"next")

    def test_a_reader_never_sees_a_part(self, place: Place) -> None:
        old, new = b"o" * 300_000, b"n" * 300_000
        place.write("a", old)
        over = threading.Event()

        def write() -> None:
            for _ in range(10):
                place.write("a", new)
                place.write("a", old)
            over.set()

        writer = threading.Thread(target=write)
        writer.start()
        seen = set()
        while not over.is_set():
            seen.add(place.read("a"))
        writer.join()
        assert seen <= {old, new}
        assert list(place.sizes()) == ["a"]

    def test_its_name_opens_it_again(self, place: Place) -> None:
        place.write("a", b"1")
        assert open_place(str(place)).read("a") == b"1"
        assert place.where("a") == f"{place}/a"
        assert open_place(place) is place


class TestLocalPlace(PlaceTests):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return LocalPlace(tmp_path / "deep" / "a.vstats")

    def test_a_path_and_a_file_url_are_local(self, tmp_path: Path) -> None:
        (tmp_path / "with space").mkdir()
        for where in (
            tmp_path / "with space",
            str(tmp_path / "with space"),
            (tmp_path / "with space").as_uri(),
        ):
            place = open_place(where)
            assert isinstance(place, LocalPlace)
            assert place.path == tmp_path / "with space"
            assert place.shared

    def test_an_empty_folder_is_there(self, place: Place) -> None:
        place.prepare()
        assert place.entries() == set()

    def test_a_file_system_without_hard_links_creates_as_well(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path, target: Path) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        assert place.create("lock", b"first")
        assert not place.create("lock", b"second")
        assert place.read("lock") == b"first"
        assert list(place.sizes()) == ["lock"]

    def test_a_disk_that_refuses_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        place = LocalPlace(tmp_path / "file" / "a.vstats")
        assert place.entries() is None
        with pytest.raises(StoreError, match="cannot be written"):
            place.prepare()
        for write in (place.write, place.create):
            with pytest.raises(StoreError, match="mend permissions"):
                write("a", b"1")


class TestMemoryPlace(PlaceTests):
    @pytest.fixture
    def place(self) -> Place:
        return open_place(f"memory://{uuid.uuid4().hex}")

    def test_workers_would_not_see_it(self, place: Place) -> None:
        check_workers_see(place, 0)
        with pytest.raises(UsageError, match="--workers 0"):
            check_workers_see(place, 2)


class TestS3Place(PlaceTests):
    @pytest.fixture
    def place(self, s3_url: str) -> Place:
        return open_place(s3_url)

    def test_a_neighbour_of_a_longer_name_is_not_ours(self, place: Place) -> None:
        neighbour = open_place(f"{place}2")
        neighbour.write("a", b"theirs")
        place.write("a", b"ours")
        place.remove()
        assert neighbour.read("a") == b"theirs"

    def test_more_objects_than_a_listing_has_on_a_page(self, place: Place) -> None:
        names = [f"many/{number:05d}" for number in range(1100)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: place.write(name, b""), names))
        assert list(place.sizes("many")) == names
        place.remove()
        assert place.sizes() == {}

    def test_a_bucket_that_is_not_there_is_named(self, s3_url: str) -> None:
        place = open_place("s3://no-such-bucket/a.vstats")
        for act in (place.entries, place.sizes, lambda: place.write("a", b""), lambda: place.read("a")):
            with pytest.raises(StoreError, match="the bucket is not there"):
                act()

    def test_missing_credentials_are_said_so(self, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
        with pytest.raises(StoreError, match=r"no credentials found\. Set AWS_ACCESS_KEY_ID"):
            open_place(s3_url).entries()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("ftp://host/a.vstats", "ftp:// is none of them"),
        ("s3://", "give a bucket and a path in it"),
        ("s3://bucket", r"such as s3://bucket/labels\.vstats"),
        ("gs://bucket/", r"such as gs://bucket/labels\.vstats"),
        ("az://container/a.vstats", "Account must be specified; it is set up by AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_a_url_that_names_no_place_is_refused(
    where: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(UsageError, match=message):
        open_place(where)


def test_without_obstore_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'vstats\[cloud\]'"):
        open_place("s3://bucket/a.vstats")


def test_google_is_opened_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place("gs://bucket/a.vstats/")
    assert isinstance(place, ObjectPlace)
    assert str(place) == "gs://bucket/a.vstats"
