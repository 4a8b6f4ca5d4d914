"""Putting an org together: schema, store, the records every org has, then generated data or a data set."""

from dataclasses import dataclass, field
from pathlib import Path

from sandbox.salesforce.app import Hangup, Simulator, simulator
from sandbox.salesforce.automation import Automation
from sandbox.salesforce.bad import BadRecord
from sandbox.salesforce.dataset import load_dataset
from sandbox.salesforce.definitions import Definitions
from sandbox.salesforce.generate import generate
from sandbox.salesforce.metadata import read_objects
from sandbox.salesforce.org import Credentials, Org, Settings, new_credentials
from sandbox.salesforce.setup import set_up
from sandbox.salesforce.standard import standard_schema
from sandbox.salesforce.store import Store


@dataclass(frozen=True, slots=True)
class Contents:
    """What an org holds: ``records`` generated ones (of which ``bad`` are deliberately wrong) and the data set in
    the folder ``data``. Both may be given, or neither. A folder with ``objects`` and no ``data`` brings definitions
    only."""

    records: int = 0
    seed: int = 1
    bad: int = 0
    data: Path | None = None
    credentials: Credentials = field(default_factory=new_credentials)
    settings: Settings = field(default_factory=Settings)


def build(contents: Contents, *, hang_up: Hangup, number: int = 0) -> Simulator:
    """An org ready to be served, the ``number``-th of its process from 0. Raises ValueError with one sentence
    where the data set cannot be loaded."""
    schema = standard_schema()
    if contents.data is not None and (contents.data / "objects").is_dir():
        schema = read_objects(schema, contents.data / "objects")
    org = Org(contents.credentials, number, contents.settings)
    store = Store(schema, org.first)
    try:
        bad: list[BadRecord] = []
        set_up(store, org)
        definitions = Definitions(store, org, Automation())
        if contents.data is not None and (contents.data / "objects").is_dir():
            definitions.read_folder(contents.data / "objects")
        if contents.records:
            bad = generate(store, org, contents.records, contents.seed, contents.bad)
        if contents.data is not None and not _metadata_only(contents.data):
            load_dataset(store, org, contents.data)
        return simulator(definitions, bad, hang_up=hang_up, seed=contents.seed)
    except BaseException:
        store.close()
        raise


def _metadata_only(folder: Path) -> bool:
    return (folder / "objects").is_dir() and not (folder / "data").exists()
