"""How a site begins: its key is born here, beside a `site.toml` that allows little and a request to be admitted."""

from __future__ import annotations

import json
from pathlib import Path

from client.config import parse_site
from client.enrolment.folder import SiteFolder
from common.errors import StudyError
from common.files import PRIVATE, write_whole
from common.identity.request import write_request
from common.identity.signing import VerifyKey
from common.identity.site_key import create_site_key, load_site_key
from common.sequences import SITE_NAME
from common.study import code_version

TEXT = """\
# {name}: where its scans lie, and what it allows, whatever a study asks. Relative paths start here.
# Every key is explained in docs/reference/enrolment.md; a line with # in front is not in force.

schema_version = 1
name = "{name}"                  # under this name the hospital stands in rosters and results
folder = {scans}                 # the scans: read, never written to
workdir = "work"                 # slices, approvals, audit, logs: all that this machine keeps
signing_key = "keys/site.key"    # born here; never copy it to anybody
roster = "kit/roster.toml"       # comes with `gliofed-client join`

[policy]
minimum_patients = 5                 # a sequence of fewer patients is not offered to a study
single_owner_heads_in_clear = false  # true: what only this site trains may leave without a mask
# sequences = ["T1", "T1Gd", "T2", "FLAIR"]  # only these; absent: all that the scans hold
# epsilon_budget = 8.0               # the most that private training may cost a patient, over all studies

[connection]
# proxy = "http://user:password@proxy.hospital.example:3128"  # where the firewall asks for one
# extra_ca = "/etc/ssl/inspection-ca.pem"  # where a proxy opens TLS: the authority of its certificates
"""


def begin_site(site: SiteFolder, name: str, scans: Path) -> VerifyKey:
    """Make a site's key, settings and request; return the public half of its key.

    Raises:
        StudyError: where a key or a `site.toml` is there already, the scans are not, or the name is no site's.
    """
    problems = [
        f"{taken}: is there already and is never overwritten; go on with it, or choose a new folder"
        for taken in (site.key, site.toml)
        if taken.exists()
    ]
    if not SITE_NAME.fullmatch(name):
        problems.append(
            f"{name[:80]!r}: a site's name is lower-case letters, digits and hyphens; choose another --name"
        )
    if not scans.is_dir():
        problems.append(f"{scans}: no folder; give the one that holds the scans, with --scans")
    if problems:
        raise StudyError("\n".join(problems))
    text = TEXT.format(name=name, scans=json.dumps(str(scans.resolve())))
    parse_site(text, site.folder, origin="site.toml")
    public = create_site_key(site.key)
    site.folder.chmod(0o700)  # whatever is kept below it later, by whichever program
    write_whole(site.toml, text.encode(), PRIVATE)  # it may come to hold the password of a proxy
    ask(site)
    return public


def ask(site: SiteFolder, new_key: bool = False) -> VerifyKey:
    """Write the request for the site's key, or for a new one that takes its place when the site joins with it.

    Raises:
        StudyError: where there is no key, or a new one waits already.
    """
    place = site.next_key if new_key or site.next_key.exists() else site.key
    if new_key:
        create_site_key(place)
    key = load_site_key(place)
    write_whole(site.request, write_request(site.config.name, key, code_version()))
    return key.public
