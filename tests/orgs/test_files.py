"""Uploaded files: stored sealed in parts, read back as seekable streams."""

import hashlib
import io
import random
import zipfile

import pytest

from connectors.errors import InputInvalid
from orgs import services
from orgs.files import OrgFiles, checked_name, open_part, seal_part
from orgs.models import FILE_PART_BYTES, OrgFile, OrgFilePart
from orgs.sealing import SealBroken
from orgs.services import add_file, remove_file
from tests.orgs.fakes import make_org

pytestmark = pytest.mark.django_db


class Dripping(io.RawIOBase):
    """A stream that returns less than it is asked for, as sockets and pipes do."""

    def __init__(self, body: bytes) -> None:
        self._body = io.BytesIO(body)

    def read(self, size: int = -1, /) -> bytes:
        return self._body.read(min(size, 100_000))


def test_a_file_is_stored_sealed_and_read_back() -> None:
    org = make_org(platform="shelf")
    body = random.Random(1).randbytes(2 * FILE_PART_BYTES + 12_345)
    file = add_file(org, "data/a.bin", Dripping(body))  # type: ignore[arg-type]  # reads like one
    assert (file.size, file.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert [bytes(part.body)[:4] for part in file.parts.all()] == [b"mf1$"] * 3
    store = OrgFiles(org)
    assert (store.names(), store.size("data/a.bin")) == (["data/a.bin"], len(body))
    with store.open("data/a.bin") as stream:
        assert stream.read() == body
        assert stream.read() == b""


def test_a_stream_seeks_like_a_file() -> None:
    org = make_org(platform="shelf")
    body = random.Random(2).randbytes(FILE_PART_BYTES + 5_000)
    add_file(org, "a.bin", io.BytesIO(body))
    reference, chance = io.BytesIO(body), random.Random(3)
    with OrgFiles(org).open("a.bin") as stream:
        for _ in range(50):
            whence = chance.choice([io.SEEK_SET, io.SEEK_END])
            offset = chance.randrange(len(body)) if whence == io.SEEK_SET else -chance.randrange(len(body))
            assert stream.seek(offset, whence) == reference.seek(offset, whence)
            size = chance.choice([1, 100, 300_000])
            assert stream.read(size) == reference.read(size)
            assert stream.tell() == reference.tell()
        assert stream.seek(len(body) + 10) == len(body) + 10
        assert stream.read() == b""
        with pytest.raises(ValueError, match="before its start"):
            stream.seek(-len(body) - 1, io.SEEK_END)


def test_a_zip_opens_from_the_store() -> None:
    org, packed = make_org(platform="shelf"), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner.csv", "id\n1\n")
    packed.seek(0)
    add_file(org, "a.zip", packed)
    with OrgFiles(org).open("a.zip") as stream, zipfile.ZipFile(stream) as archive:
        assert archive.read("inner.csv") == b"id\n1\n"


def test_a_second_file_of_a_name_replaces_the_first() -> None:
    org = make_org(platform="shelf")
    add_file(org, "a.csv", io.BytesIO(b"old and longer"))
    add_file(org, "a.csv", io.BytesIO(b"new"))
    with OrgFiles(org).open("a.csv") as stream:
        assert stream.read() == b"new"
    assert OrgFilePart.objects.count() == 1


def test_empty_and_removed_files() -> None:
    org = make_org(platform="shelf")
    file = add_file(org, "empty", io.BytesIO())
    with OrgFiles(org).open("empty") as stream:
        assert stream.read() == b""
    remove_file(file)
    for look in (OrgFiles(org).open, OrgFiles(org).size):
        with pytest.raises(FileNotFoundError):
            look("empty")


def test_a_file_of_another_org_is_not_there() -> None:
    mine, theirs = make_org("Mine", platform="shelf"), make_org("Theirs", platform="shelf")
    add_file(theirs, "a.csv", io.BytesIO(b"x"))
    assert OrgFiles(mine).names() == []
    with pytest.raises(FileNotFoundError):
        OrgFiles(mine).open("a.csv")


def test_a_file_that_is_too_large_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_FILE_BYTES", FILE_PART_BYTES)
    with pytest.raises(InputInvalid, match=r"a\.bin is larger than 1 MiB"):
        add_file(make_org(platform="shelf"), "a.bin", io.BytesIO(b"x" * (FILE_PART_BYTES + 1)))
    assert not OrgFile.objects.exists()


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a", "a/../../b", "a\\b", "c:a", "a\x00", "a\nb", "x" * 501, "."]
)
def test_names_that_are_no_plain_relative_path_are_refused(name: str) -> None:
    with pytest.raises(InputInvalid, match="is not a plain relative name"):
        checked_name(name)


def test_plain_names_are_taken() -> None:
    assert [checked_name(name) for name in ("a.csv", "data/Ünï 1.xlsx", "./a//b")] == [
        "a.csv",
        "data/Ünï 1.xlsx",
        "a/b",
    ]


def test_a_missing_swapped_or_altered_part_is_noticed() -> None:
    org = make_org(platform="shelf")
    file = add_file(org, "a.bin", io.BytesIO(b"x" * (2 * FILE_PART_BYTES)))
    first, second = file.parts.all()
    OrgFilePart.objects.filter(pk=second.pk).update(body=first.body)
    with OrgFiles(org).open("a.bin") as stream, pytest.raises(InputInvalid, match="cannot be opened: Part 1 of"):
        stream.read()
    OrgFilePart.objects.filter(pk=second.pk).update(body=seal_part(file.public_id, 1, b"short"))
    with OrgFiles(org).open("a.bin") as stream, pytest.raises(InputInvalid, match="is incomplete"):
        stream.read()
    second.delete()
    with OrgFiles(org).open("a.bin") as stream, pytest.raises(InputInvalid, match="is incomplete"):
        stream.read()


def test_a_part_opens_only_in_its_own_place() -> None:
    org = make_org(platform="shelf")
    one, two = (add_file(org, name, io.BytesIO(b"x")) for name in "ab")
    token = seal_part(one.public_id, 0, b"x")
    assert open_part(one.public_id, 0, token) == b"x"
    for file, number in ((one, 1), (two, 0)):
        with pytest.raises(SealBroken, match="belongs elsewhere"):
            open_part(file.public_id, number, token)
