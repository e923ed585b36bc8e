"""Whether the site is what the consortium takes it for: settings, key, kit, roster, name."""

from __future__ import annotations

import stat

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.surroundings import Surroundings
from common.errors import GliofedError, PolicyError, StudyError
from common.files import PRIVATE

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def settings(around: Surroundings) -> Finding:
    """Whether site.toml can be read, and only by its owner where it holds a password."""
    try:
        config = around.site.config
    except GliofedError as error:
        problems = str(error).splitlines()
        remedy = "correct the lines named; docs/reference/site.md explains every key"
        return failed("site-toml", "; ".join(problems), remedy, problems=len(problems))
    proxy = config.connection.proxy
    if proxy is not None and "@" in proxy.get_secret_value() and around.site.toml.stat().st_mode & OTHERS:
        what = "site.toml holds the proxy's password and can be read by other users"
        return failed("password-open", what, f"chmod 600 {around.site.toml}")
    return passed(f"site.toml of {config.name} is understood")


def key(around: Surroundings) -> Finding:
    """Whether the site's private key is there, is one, and is its owner's alone."""
    from common.identity.site_key import load_site_key

    place = around.site.key
    if not place.exists():
        return failed("no-key", f"{place} is not there", "run `gliofed-client init`, or restore keys/ from your backup")
    mode = stat.S_IMODE(place.stat().st_mode)
    if mode & OTHERS:
        return failed("key-open", f"{place} can be read by other users (mode {mode:o})", f"chmod 600 {place}")
    try:
        print_of = load_site_key(place).public.fingerprint
    except GliofedError as error:
        return failed("key-unreadable", str(error), "restore it, or ask with `gliofed-client request --new-key`")
    if mode != PRIVATE:
        return warned("key-mode", f"{place} has mode {mode:o}, expected 600", f"chmod 600 {place}")
    return passed(f"the key is there for its owner alone: {print_of}")


def kit(around: Surroundings) -> Finding:
    """Whether the site has joined, with a kit that is whole and signed."""
    from common.files import read_at_most
    from common.identity.kit import MAX_MEMBER, MEMBERS, read_kit

    site = around.site
    if not site.card.exists():
        remedy = "send request.json to the coordinator, then run `gliofed-client join KIT` with the kit that comes back"
        return failed("not-joined", "the site has not joined", remedy)
    try:
        opened = read_kit({name: read_at_most(site.kit / name, MAX_MEMBER) for name in MEMBERS}, "kit")
    except GliofedError as error:
        remedy = "ask the coordinator for the kit again and run `gliofed-client join KIT`"
        return failed(error.code, f"the kit is not as it was signed: {error}", remedy)
    age = (around.now() - opened.card.issued).days
    return passed(f"joined {opened.card.name} with the kit of {opened.card.issued:%Y-%m-%d}", age_days=age)


def roster(around: Surroundings) -> Finding:
    """Whether the roster holds the key that this site has."""
    from common.identity.signing import VerifyKey
    from common.identity.site_key import load_site_key
    from common.roster_file import load_roster

    config, site, _ = around.config, around.site, around.card
    if not site.key.exists():
        raise NotCheckedError("there is no key")
    entry = load_roster(site.roster).sites.get(config.name)
    ask = "send the coordinator request.json again, and join with the kit that comes back"
    if entry is None:
        return failed("not-on-roster", f"the roster does not name {config.name}", ask)
    own = load_site_key(site.key).public
    if entry.signing_key is None or VerifyKey.from_pem(entry.signing_key) != own:
        return failed("other-key", f"the roster holds another key for {config.name}", ask)
    if site.next_key.exists():
        what = "a new key waits for a kit that admits it; the old one still counts"
        return warned("next-key", what, "send the request for it, and join with the kit that comes back")
    return passed(f"the roster holds this site's key (node {entry.node})")


def name(around: Surroundings) -> Finding:
    """Whether the study knows the site under its name."""
    config, study = around.config, around.wanted
    if config.name in study.sites:
        return passed(f"study {study.name} names {config.name}", sites=len(study.sites))
    what = f"study {study.name} does not name {config.name}, but {', '.join(study.sites)}"
    return failed("other-name", what, "give site.toml the name that the study uses, or ask to be taken into the study")


TOPIC = Topic(
    "enrolment",
    (
        Check("settings", "site.toml is understood; with a password in it, its owner's alone", settings, StudyError),
        Check("key", "the private key is there, is one, and has mode 0600", key, PolicyError),
        Check("kit", "the site has joined, with a kit that is whole and signed", kit, PolicyError),
        Check("roster", "the roster holds this site's key", roster, PolicyError),
        Check("name", "the study names this site", name, StudyError),
    ),
)
