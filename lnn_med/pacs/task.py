"""One complete study of a watch: scored once, its DICOM results sent once, every step in the ledger."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lnn_med.errors import Code, InputError, described
from lnn_med.pacs.archive import Archive, Outgoing, outgoing
from lnn_med.pacs.inbox import ENDING
from lnn_med.pacs.journal import DONE, FAILED, SCORED, SENT, STARTED, STOPPED, Journal, Line
from lnn_med.pacs.uids import WRONG_UID, shown

logger = logging.getLogger(__name__)

# And nothing else of a result; the report comes last, because it refers to the segmentations.
SENT_BACK = ("segmentation.dcm", "hippocampus.dcm", "measurements.dcm")
RESULT_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
        "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
    }
)
# Reasons that lie in the machine or the moment, not in the study. NETWORK is tried until it works.
TRANSIENT = frozenset({Code.STORAGE, Code.CHANGED, Code.RESOURCE, Code.NETWORK})
CRASHES = 3  # starts without an outcome, after which a study is held to end the process
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 3600.0

Score = Callable[[Path], Path]  # folder of a study -> folder of its result


@dataclass
class Tasks:
    """Works on studies; `folder` is the watch's, where result folders are remembered relative to."""

    folder: Path
    archive: Archive
    score: Score
    journal: Journal
    attempts: int
    clock: Callable[[], float] = time.monotonic
    _waits: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)  # until when, how long

    def outcome(self, study: str, key: str) -> str | None:
        """ "done" or "failed" when nothing is left to do, else None."""
        lines = self.journal.lines(study, key)
        if any(line.state == DONE for line in lines):
            return DONE
        failures = [line for line in lines if line.state == FAILED]
        if not failures:
            return None
        code = failures[-1].code
        if code == Code.NETWORK.value or (
            code in {each.value for each in TRANSIENT} and len(failures) < self.attempts
        ):
            return None
        return FAILED

    def work(self, folder: Path) -> str | None:
        """Bring one complete study as far as it goes; its outcome."""
        study, (key, images) = folder.name, key_of(folder)
        outcome = self.outcome(study, key)
        if outcome is not None or self._must_wait(study, key):
            return outcome
        line = Line(study, key, STARTED, images)
        try:
            self._send(line, self._scored(line, folder))
            self._waits.pop((study, key), None)
            self._note(line, DONE)
        except KeyboardInterrupt:
            self._note(line, STOPPED)
            raise
        except Exception as error:  # one study never stops the watch
            code, message = described(error)
            self._wait_longer(study, key)
            self._note(line, FAILED, code=code.value, message=message)
        return self.outcome(study, key)

    def _scored(self, line: Line, folder: Path) -> Path:
        """The folder of the result, made now or remembered from before a restart."""
        lines = self.journal.lines(line.study, line.key)
        known = [self.folder / each.result for each in lines if each.state == SCORED and each.result]
        if known and known[-1].is_dir():
            return known[-1]
        known_ends = (SCORED, FAILED, STOPPED)
        ended = max((n for n, each in enumerate(lines) if each.state in known_ends), default=-1)
        if sum(each.state == STARTED for each in lines[ended + 1 :]) >= CRASHES:
            raise InputError(Code.INTERNAL, f"Scoring this study ended the process {CRASHES} times.")
        self._note(line, STARTED)
        result = self.score(folder)
        place = result.relative_to(self.folder) if result.is_relative_to(self.folder) else result
        self._note(line, SCORED, result=str(place))
        return result

    def _send(self, line: Line, result: Path) -> None:
        files = [result / name for name in SENT_BACK if (result / name).is_file()]
        if not files:
            raise InputError(Code.NOTFOUND, f"The result holds none of {', '.join(SENT_BACK)}.")
        sent = {each.file for each in self.journal.lines(line.study, line.key) if each.state == SENT}
        for path in files:
            if path.name not in sent:
                self.archive.send([_checked(path, line.study)])
                self._note(line, SENT, file=path.name)

    def _note(self, line: Line, state: str, **more: str) -> None:
        self.journal.append(Line(line.study, line.key, state, line.images, **more))
        level = logging.WARNING if state == FAILED else logging.INFO
        words = " ".join(more.values())
        logger.log(level, "study %s, %d images: %s %s", line.study, line.images, state, words)

    def _must_wait(self, study: str, key: str) -> bool:
        return self.clock() < self._waits.get((study, key), (float("-inf"), 0.0))[0]

    def _wait_longer(self, study: str, key: str) -> None:
        before = self._waits.get((study, key), (0.0, 0.0))[1]
        wait = min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * before))
        self._waits[study, key] = (self.clock() + wait, wait)


def _checked(path: Path, study: str) -> Outgoing:
    """A result that may be sent: a SEG or SR of the very study that was scored."""
    file = outgoing(path)
    if file.sop_class not in RESULT_CLASSES:
        raise InputError(Code.FORMAT, f"{path.name} is neither a segmentation nor a structured report.")
    if shown(file.study) != study:
        raise InputError(WRONG_UID, f"{path.name} belongs to another study than the images.")
    return file


def key_of(folder: Path) -> tuple[str, int]:
    """Hash of the images of a study and their number; names stand for UIDs, and a UID for its content."""
    files = sorted(folder.glob(f"*/*{ENDING}"))
    facts = "\n".join(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in files)
    return hashlib.sha256(facts.encode()).hexdigest()[:16], len(files)
