"""Who may read and write what: the site's folder, its workdir, the scans, and what was left half-written."""

from __future__ import annotations

import stat
from pathlib import Path

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, failed, passed, warned
from client.doctor.surroundings import Surroundings
from common.errors import GliofedError, PolicyError
from common.files import write_whole

OTHERS = stat.S_IRWXG | stat.S_IRWXO
SETTLED_S = 3600.0
"""Age from which on a half-written file belongs to nobody at work."""
TRY = "doctor.tried"


def private(around: Surroundings) -> Finding:
    """Whether workdir and keys are the owner's alone."""
    site, config = around.site, around.config
    open_ones = [each for each in (site.key.parent, config.workdir) if _is_open(each, site.folder)]
    if not open_ones:
        return passed("keys and workdir are their owner's alone")
    what = f"other users can look into {', '.join(map(str, open_ones))}"
    remedy = f"chmod 700 {' '.join(map(str, open_ones))}; slices of patients lie in workdir"
    return warned("open-folder", what, remedy, folders=len(open_ones))


def _is_open(folder: Path, above: Path) -> bool:
    """Return whether others can look into `folder`; where it lies below `above`, that one may keep them out too."""
    folder, above = folder.resolve(), above.resolve()  # it may be a link to a larger disk
    within = [place for place in (folder, *folder.parents) if place == folder or place.is_relative_to(above)]
    return folder.is_dir() and all(place.stat().st_mode & OTHERS for place in within)


def writing(around: Surroundings) -> Finding:
    """Whether workdir can be written to."""
    place = around.config.workdir / TRY
    try:
        write_whole(place, b"")
        place.unlink()
    except (GliofedError, OSError):
        what = f"{place.parent} cannot be written to"
        return failed("not-writable", what, f"make it, and give it to the user that runs the client: {place.parent}")
    return passed("workdir can be written to")


def scans(around: Surroundings) -> Finding:
    """Whether the scans are safe from this program, whatever its faults."""
    folder = around.config.folder
    if not folder.is_dir():
        return failed("no-scans", f"{folder} is no folder", "correct folder in site.toml, or mount the scans")
    if around.writable(folder):
        what = "the scans could be changed by this program, which never does so"
        return warned("scans-writable", what, f"mount {folder} read-only, or give it to another user", writable=1)
    return passed("the scans are read-only for this program")


def halves(around: Surroundings) -> Finding:
    """Whether programs that were killed left files that nobody finishes."""
    now = around.now().timestamp()
    places = (around.site.folder, around.config.workdir)
    found = {part for place in places for part in place.rglob(".*.part") if _age_s(part, now) > SETTLED_S}
    if not found:
        return passed("no half-written files")
    first = sorted(found)[0]
    what = f"{len(found)} half-written, the first is {first}"
    return warned("half-written", what, "remove them while nothing of GlioFed runs here", files=len(found))


def _age_s(path: Path, now: float) -> float:
    try:
        return now - path.lstat().st_mtime
    except OSError:  # finished meanwhile
        return 0.0


TOPIC = Topic(
    "folders",
    (
        Check("private-folders", "keys and workdir are their owner's alone", private, PolicyError),
        Check("write-access", "workdir can be written to", writing, GliofedError),
        Check("scans-read-only", "the scans cannot be changed from here", scans, GliofedError),
        Check("half-written", "no files that a killed program left", halves, GliofedError),
    ),
)
