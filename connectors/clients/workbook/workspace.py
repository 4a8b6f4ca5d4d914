"""The temporary folder in which zips are unpacked and workbooks converted, gone when its owner is."""

import shutil
import tempfile
import weakref
from pathlib import Path


class Workspace:
    """Made at first use; removed by ``close``, or with the object, or at the interpreter's end."""

    def __init__(self) -> None:
        self._files = 0
        self._folder: Path | None = None
        self._remove: weakref.finalize[..., Workspace] | None = None

    def path(self) -> Path:
        """A name for one new file or folder."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="workbook-"))
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files += 1
        return self._folder / str(self._files)

    def close(self) -> None:
        if self._remove:
            self._remove()
        self._folder = self._remove = None
