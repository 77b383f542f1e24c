"""Watch for new head scans: listen for them or ask for them, score each study, send its results back.

The folder of a watch: `incoming/` (images under our own names), `results/`, `quarantine/` (refused objects),
`ledger.jsonl`. Everything that must survive a stop lies there; the same command goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.pacs.archive import Archive, Series, Study, fetch_all, open_archive, series_of
from lnn_med.pacs.inbox import ENDING, Inbox
from lnn_med.pacs.journal import FETCHED, Journal, Line
from lnn_med.pacs.settings import PacsConfig
from lnn_med.pacs.task import TRANSIENT, Score, Tasks, key_of
from lnn_med.pacs.uids import shown

logger = logging.getLogger(__name__)

INCOMING, RESULTS, QUARANTINE, FETCHING = "incoming", "results", "quarantine", "fetching"
LOCK_FILE = ".lock"
LOOK_S = 2.0  # between looks at what has arrived
MODALITY = "MR"
UNLISTED = ""  # key of a study whose list of series could not be used
LEFT_OUT = "the archive or the worklist lists them with UIDs that are none, or with too many series."

Sleep = Callable[[float], None]


class Watch:
    """One watch over one archive, in one folder."""

    def __init__(
        self, config: PacsConfig, folder: Path, score: Score, archive: Archive | None = None
    ) -> None:
        self.config, self.folder = config, folder
        self.archive = archive or open_archive(config)
        self.incoming = folder / INCOMING
        self.journal = Journal(folder)
        self.tasks = Tasks(folder, self.archive, score, self.journal, config.watch.attempts)
        self.refused = 0  # entries that the archive or the worklist listed last and that were left out
        self._seen: dict[str, tuple[str, float]] = {}  # study -> what the archive lists, since when

    def listen(self, sleep: Sleep = time.sleep) -> None:
        """Take what is sent to us, until interrupted.

        Raises:
            ConfigError: `listen` is missing, or its address cannot be listened on.
        """
        from lnn_med.pacs.listener import Listener

        if self.config.listen is None:
            raise ConfigError("Watching by listening needs `listen` in the configuration.")
        inbox = Inbox(self.incoming, self.config.limits, self.folder / QUARANTINE)
        listener = Listener(self.config.listen, self.config.our_ae_title, self.config.limits, inbox.keep)
        with listener.running() as port:
            logger.info("Listening on %s:%d.", self.config.listen.address, port)
            while True:
                self.work_on_complete(self.config.watch.quiet_s, listener.open_studies())
                if self.remove_old():
                    inbox.recount()
                sleep(LOOK_S)

    def poll(self, once: bool = False, sleep: Sleep = time.sleep) -> None:
        """Ask the archive again and again, or once, for studies that have come to rest, and fetch them.

        Raises:
            InputError: E_NETWORK, with `once`; otherwise the next question may work.
        """
        while True:
            failure = self._fetch_or_tell()
            if once:
                sleep(self.config.watch.quiet_s)
                failure = self._fetch_or_tell()
            self.work_on_complete(quiet_s=0)
            self.remove_old()
            if once and failure is not None:
                raise failure
            if once:
                return
            sleep(self.config.watch.poll_s)

    def fetch_complete(self) -> None:
        """Fetch each MR study whose listing has not changed for the quiet time and was not fetched before.

        Entries that cannot be trusted are left out and counted; the others are fetched.

        Raises:
            InputError: E_NETWORK, of the last study that the archive did not give whole, after the others.
        """
        studies, refused = self._studies()
        failure = None
        for study in studies:
            try:
                self._fetch_quiet(study, series_of(self.archive, study, {"Modality": MODALITY}))
            except InputError as error:
                if error.code is Code.NETWORK:
                    failure = error
                else:
                    self._refuse(study, error)
                    refused += 1
        if refused not in (0, self.refused):  # once, not with every question
            logger.warning("%d studies are left out: %s", refused, LEFT_OUT)
        self.refused = refused
        if failure is not None:
            raise failure

    def work_on_complete(self, quiet_s: float, growing: Collection[str] = ()) -> None:
        """Score and send every study that has had no new image for `quiet_s` seconds and is not `growing`."""
        for folder in _folders(self.incoming):
            if folder.name not in growing and time.time() - _newest(folder) >= quiet_s:
                self.tasks.work(folder)

    def remove_old(self) -> bool:
        """Delete the images of studies that are finished for long enough; whether there were any."""
        removed = False
        for folder in _folders(self.incoming):
            if time.time() - _newest(folder) < self.config.watch.keep_hours * 3600:
                continue
            if self.tasks.outcome(folder.name, key_of(folder)[0]) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                removed = True
        return removed

    def _studies(self) -> tuple[list[Study], int]:
        """Recent MR studies of the archive, or those that a worklist schedules; how many UIDs were none."""
        first = date.today() - timedelta(days=self.config.watch.days)
        dates = f"{first:%Y%m%d}-{date.today():%Y%m%d}"
        if self.config.worklist is None:
            return self.archive.studies({"StudyDate": dates, "ModalitiesInStudy": MODALITY})
        from lnn_med.pacs.worklist import scheduled

        uids, refused = scheduled(self.config, dates, MODALITY)
        found = []
        for uid in uids:
            studies, wrong = self.archive.studies({"StudyInstanceUID": uid})
            found += [study for study in studies if study.uid == uid]
            refused += wrong
        return found, refused

    def _fetch_or_tell(self) -> InputError | None:
        """Fetch; an archive that did not answer is logged and given back, for it may next time."""
        try:
            self.fetch_complete()
        except InputError as error:
            if error.code is not Code.NETWORK:
                raise
            logger.warning("%s", error)
            return error
        return None

    def _refuse(self, study: Study, error: InputError) -> None:
        """Note a study whose list of series cannot be trusted, once."""
        name = shown(study.uid)
        if not self.journal.lines(name, UNLISTED):
            logger.warning("study %s is left out: %s", name, error)
            self.journal.append(Line(name, UNLISTED, FETCHED, code=error.code.value, message=error.detail))

    def _fetch_quiet(self, study: Study, series: list[Series]) -> None:
        """Fetch a study that has come to rest and was not fetched before."""
        if not series:
            return
        name, listing = shown(study.uid), _listing(series)
        if self._is_settled(self.journal.lines(name, listing)):
            return
        before, since = self._seen.get(name, ("", 0.0))
        if before != listing:
            since = time.monotonic()
            self._seen[name] = (listing, since)
        if time.monotonic() - since >= self.config.watch.quiet_s:
            self._fetch(study, series, listing)

    def _is_settled(self, lines: Sequence[Line]) -> bool:
        """Whether a study was fetched, or failed for a reason of its own or often enough."""
        passing = {code.value for code in TRANSIENT}
        return len(lines) >= self.config.watch.attempts or any(line.code not in passing for line in lines)

    def _fetch(self, study: Study, series: list[Series], listing: str) -> None:
        """Receive a study beside the incoming ones and move it there when it is whole."""
        name = shown(study.uid)
        staging = self.folder / FETCHING
        shutil.rmtree(staging, ignore_errors=True)
        inbox = Inbox(staging, self.config.limits, self.folder / QUARANTINE)
        inbox.used_bytes += Inbox(self.incoming, self.config.limits).used_bytes
        try:
            images = fetch_all(self.archive, series, inbox)
            _replace(staging / name, self.incoming / name)
        except InputError as error:
            if error.code is Code.NETWORK:
                raise
            logger.warning("study %s cannot be fetched: %s", name, error)
            self.journal.append(Line(name, listing, FETCHED, code=error.code.value, message=error.detail))
        else:
            self.journal.append(Line(name, listing, FETCHED, images))
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder of a watch and keep other processes out; the system frees the lock of a dead one.

    Raises:
        ConfigError: another process watches there.
        InputError: E_STORAGE.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InputError(Code.STORAGE, f"The folder cannot be written ({error.strerror}).") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError("Another process watches in this folder.") from None
    finally:
        os.close(descriptor)


def fetch_to(archive: Archive, series: list[Series], out: Path, config: PacsConfig) -> int:
    """Receive series into a new folder, whole or not at all; the number of images.

    Raises:
        ConfigError: `out` exists and is not empty.
        InputError: as `Archive.fetch` and `Inbox.keep`.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("--out exists and is not an empty folder.")
    staging = out.parent / f".{out.name[:100]}.fetching"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        inbox = Inbox(staging, config.limits)
        images = fetch_all(archive, series, inbox)
        _replace(staging, out)
        return images
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(new: Path, place: Path) -> None:
    """Rename a folder to its place; an older one goes just before."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            shutil.rmtree(place)
        os.rename(new, place)
    except OSError as error:
        raise InputError(Code.STORAGE, f"The images cannot be put in place ({error.strerror}).") from error


def _folders(incoming: Path) -> list[Path]:
    if not incoming.is_dir():
        return []
    return sorted(path for path in incoming.iterdir() if path.is_dir() and not path.name.startswith("."))


def _newest(folder: Path) -> float:
    """When the last image came, seconds since 1970."""
    return max((path.stat().st_mtime for path in folder.glob(f"*/*{ENDING}")), default=time.time())


def _listing(series: list[Series]) -> str:
    """Hash of what an archive lists of a study; results that we send back are no MR series."""
    facts = sorted(f"{one.uid} {one.images}" for one in series)
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
