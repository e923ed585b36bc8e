"""A site's folder: where what lies. `site.toml` names it; scans are elsewhere and never written to."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from client.config import SiteConfig, load_site


class SiteFolder:
    """The paths of a site's folder; nothing is read before it is asked for.

    Args:
        site_toml: the site's `site.toml`.

    Attributes:
        folder: the folder in which it lies, absolute.
    """

    def __init__(self, site_toml: Path) -> None:
        self.toml = site_toml.absolute()
        self.folder = self.toml.parent

    @cached_property
    def config(self) -> SiteConfig:
        """What `site.toml` says. Raises StudyError where it is missing or wrong."""
        return load_site(self.toml)

    # ---- the site's key and its request

    @property
    def key(self) -> Path:
        """The site's private key, born here; it leaves for nobody."""
        return self.folder / "keys" / "site.key"

    @property
    def public_key(self) -> Path:
        """Its public half as OpenSSH writes it."""
        return self.folder / "keys" / "site.pub"

    @property
    def next_key(self) -> Path:
        """A key that waits to take the place of the one in use, until a kit admits the site with it."""
        return self.folder / "keys" / "next.key"

    @property
    def patient_key(self) -> Path:
        """The secret that turns patient numbers into keys; it leaves for nobody, and a copy of it is kept apart."""
        return self.folder / "keys" / "patient.key"

    @property
    def request(self) -> Path:
        """What the site sends the coordinator to be admitted."""
        return self.folder / "request.json"

    # ---- what the coordinator sent back

    @property
    def kit(self) -> Path:
        """The kit with which the site joined; absent until then."""
        return self.folder / "kit"

    @property
    def card(self) -> Path:
        """What the kit says of the consortium: host, port, name, the signer's fingerprint."""
        return self.kit / "consortium.json"

    @property
    def ca(self) -> Path:
        """The certificate of the consortium's authority."""
        return self.kit / "ca.crt"

    @property
    def signing_pub(self) -> Path:
        """The key that this site trusts for rosters, plans and releases, PEM."""
        return self.kit / "signing.pub"

    @property
    def roster(self) -> Path:
        """The site's own copy of the roster; its signature lies beside it."""
        return self.kit / "roster.toml"

    # ---- what the site itself keeps

    @property
    def work(self) -> Path:
        """The folder that `site.toml` names as workdir."""
        return self.config.workdir

    @property
    def plans(self) -> Path:
        """Study plans that the coordinator sent."""
        return self.work / "plans"

    @property
    def approvals(self) -> Path:
        """Study plans that a person here approved."""
        return self.work / "approvals"

    @property
    def audit(self) -> Path:
        """The log of all that left."""
        return self.work / "audit"

    @property
    def logs(self) -> Path:
        """Logs of the site's programs."""
        return self.work / "logs"

    @property
    def flower(self) -> Path:
        """Flower's home at the site."""
        return self.work / "flower"

    @property
    def privacy(self) -> Path:
        """The ledger of private training."""
        return self.work / "privacy"

    @property
    def seen_certificate(self) -> Path:
        """The certificate that was last shown to this site in the server's name."""
        return self.flower / "server.crt"

    @property
    def cache(self) -> Path:
        """Slices, ready to be trained on."""
        return self.work / "cache"
