"""Deployments: a zip of metadata files taken as a whole or not at all, seen unfinished for a while.

https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_deploy.htm
"""

import base64
import binascii
import io
import itertools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from defusedxml.ElementTree import ParseError, fromstring

from sandbox.salesforce import ids
from sandbox.salesforce.components import FOLDERS, ComponentRefused, Components
from sandbox.salesforce.soap_text import content_of, plain_name


@dataclass(frozen=True, slots=True)
class Failure:
    """One component or test that failed."""

    kind: str
    name: str
    message: str


@dataclass(slots=True)
class Deployment:
    """One deployment: what came of it, and how often it is still to be seen unfinished."""

    key: str
    components: int
    failures: tuple[Failure, ...] = ()
    test_failures: tuple[Failure, ...] = ()
    check_only: bool = False
    polls: int = 0

    @property
    def done(self) -> bool:
        return self.polls <= 0

    @property
    def status(self) -> str:
        if not self.done:
            return "InProgress"
        return "Failed" if self.failures or self.test_failures else "Succeeded"


class _Undone(Exception):
    """A deployment that is taken back."""


@dataclass
class Deployments:
    components: Components
    _known: dict[str, Deployment] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def start(self, zip_text: str, options: Mapping[str, Any]) -> Deployment:
        """Carry out a base64 zip at once; ``status`` lets it look unfinished. Raises ValueError for no zip."""
        try:
            package = zipfile.ZipFile(io.BytesIO(base64.b64decode(zip_text)))
        except (binascii.Error, zipfile.BadZipFile) as wrong:
            raise ValueError("zipFile is not a valid zip file") from wrong
        check_only = options.get("checkOnly") in ("true", "True")
        with package:
            files = list(_files(package))
            gone = list(_destroyed(package))
        failures, tests = self._carry_out(files, gone, check_only=check_only)
        org = self.components.org
        key = ids.record_id("0Af", org.first + next(self._numbers))
        made = Deployment(key, len(files) + len(gone), failures, tests, check_only, org.settings.deploy_polls)
        self._known[key] = made
        return made

    def look(self, key: str) -> Deployment:
        """One look at a deployment, which counts. Raises KeyError."""
        found = self._known[ids.normalised(key)]
        found.polls -= 1
        return found

    def _carry_out(
        self, files: Sequence[tuple[str, str, bytes]], gone: Sequence[tuple[str, str]], *, check_only: bool
    ) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
        failures: list[Failure] = []
        tests = tuple(
            Failure("ApexClass", f"CustomerTest{number}.loads", "System.AssertException: Assertion Failed")
            for number in range(1, self.components.org.settings.failing_tests + 1)
        )
        with suppress(_Undone), self.components.all_or_none():
            for kind, name, body in files:
                failures += self._taken(kind, name, body)
            for kind, name in gone:
                failures += self._removed(kind, name)
            if failures or tests or check_only:
                raise _Undone
        return tuple(failures), tests

    def _taken(self, kind: str, name: str, body: bytes) -> Iterator[Failure]:
        try:
            self.components.put(kind, name, content_of(fromstring(body)))
        except ParseError as wrong:
            yield Failure(kind, name, f"Error parsing file: {wrong}")
        except ComponentRefused as refused:
            yield Failure(kind, name, refused.message)

    def _removed(self, kind: str, name: str) -> Iterator[Failure]:
        """What is not there is a warning on the platform, not a failure."""
        if self.components.get(kind, name) is not None:
            try:
                self.components.remove(kind, name)
            except ComponentRefused as refused:
                yield Failure(kind, name, refused.message)


def _files(package: zipfile.ZipFile) -> Iterator[tuple[str, str, bytes]]:
    """Type, full name and text of the package's components, in the order of their types."""
    for kind, (folder, suffix) in FOLDERS.items():
        for path in sorted(package.namelist()):
            place, _, file = path.rpartition("/")
            if place.rpartition("/")[2] == folder and file.endswith(suffix):
                yield kind, file.removesuffix(suffix), package.read(path)


def _destroyed(package: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    for path in package.namelist():
        if path.rpartition("/")[2].startswith("destructiveChanges"):
            for types in fromstring(package.read(path)):
                if plain_name(types) == "types":
                    content = content_of(types)
                    members = content.get("members", [])
                    for name in members if isinstance(members, list) else [members]:
                        yield str(content.get("name")), str(name)
