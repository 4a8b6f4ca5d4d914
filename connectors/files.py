"""File stores for machines without one: a local folder, read and never left."""

from pathlib import Path, PurePosixPath
from typing import BinaryIO

from connectors.errors import InputInvalid, SettingsInvalid

MAX_FILES = 20_000
"""Files in one store. A metadata folder of a large Salesforce org has a few thousand."""


class FolderFiles:
    """The files below one local folder, as a ``FileStore``.

    Links, hidden files and everything in hidden folders are not there: they are neither listed nor
    opened, so nothing outside the folder can be reached. Raises SettingsInvalid where ``root`` is no
    folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise SettingsInvalid(f"There is no folder “{root}”. Give the path of the folder that holds the files.")
        self._root = root.resolve()

    def names(self) -> list[str]:
        found: list[str] = []
        waiting = [self._root]
        while waiting:
            for entry in waiting.pop().iterdir():
                if entry.is_symlink() or entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append(entry)
                elif entry.is_file():
                    found.append(entry.relative_to(self._root).as_posix())
            if len(found) > MAX_FILES:
                raise InputInvalid(
                    f"The folder “{self._root.name}” holds more than {MAX_FILES:,} files. "
                    "Put the files to migrate in a folder of their own."
                )
        return sorted(found)

    def open(self, name: str) -> BinaryIO:
        return self._path(name).open("rb")

    def size(self, name: str) -> int:
        return self._path(name).stat().st_size

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or any(part.startswith(".") for part in parts):
            raise FileNotFoundError(name)
        path = self._root
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise FileNotFoundError(name)
        if not path.is_file():
            raise FileNotFoundError(name)
        return path
