"""The coordinator's folder: where what lies. Everything that the coordinator keeps of a consortium is below it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from common.errors import StudyError
from server.consortium.settings import ConsortiumSettings, load_consortium


class Consortium:
    """The paths of a consortium's folder; nothing is read before it is asked for.

    Attributes:
        folder: the folder, absolute.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @classmethod
    def open(cls, folder: Path) -> Consortium:
        """Return a consortium that was begun. Raises StudyError where there is none, or its settings are wrong."""
        consortium = cls(folder)
        if not consortium.toml.is_file():
            raise StudyError(f"{folder}: holds no consortium.toml; begin one with `gliofed-server init {folder}`")
        _ = consortium.settings
        return consortium

    @cached_property
    def settings(self) -> ConsortiumSettings:
        """What `consortium.toml` says. Raises StudyError where it is missing or wrong."""
        return load_consortium(self.toml)

    @property
    def toml(self) -> Path:
        """The consortium's settings."""
        return self.folder / "consortium.toml"

    # ---- keys and certificates

    @property
    def signing_key(self) -> Path:
        """The Ed25519 key that signs rosters, plans and releases; it may lie elsewhere, then this file is absent."""
        return self.folder / "signing.key"

    @property
    def signing_pub(self) -> Path:
        """Its public half, PEM."""
        return self.folder / "signing.pub"

    @property
    def ca_key(self) -> Path:
        """The private key of the consortium's certificate authority; needed for renewals alone."""
        return self.folder / "tls" / "ca.key"

    @property
    def ca(self) -> Path:
        """The authority's certificate, which every site trusts."""
        return self.folder / "tls" / "ca.crt"

    @property
    def server_key(self) -> Path:
        """The private key of the server's certificate."""
        return self.folder / "tls" / "server.key"

    @property
    def server_certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "tls" / "server.crt"

    @property
    def loopback_key(self) -> Path:
        """The private key of the loopback certificate."""
        return self.folder / "tls" / "loopback.key"

    @property
    def loopback_certificate(self) -> Path:
        """What the SuperLink shows on the loopback address.

        It lasts as long as the authority, because a SuperLink reads its certificate when it starts and never again: the
        one that is renewed is nginx's.
        """
        return self.folder / "tls" / "loopback.crt"

    # ---- who takes part

    @property
    def roster(self) -> Path:
        """The sites admitted; absent until the first one is. Its signature lies beside it."""
        return self.folder / "roster.toml"

    @property
    def revoked(self) -> Path:
        """The keys that may never come back."""
        return self.folder / "revoked.toml"

    @property
    def card(self) -> Path:
        """What a kit says of the consortium. Its signature lies beside it."""
        return self.folder / "consortium.json"

    @property
    def requests(self) -> Path:
        """The requests that were granted, `<site>.json`."""
        return self.folder / "requests"

    def kit(self, site: str) -> Path:
        """Return where the kit of a site lies."""
        return self.folder / "kits" / f"{site}.zip"

    # ---- what is run

    @property
    def plans(self) -> Path:
        """Signed study plans, `<digest>.json`."""
        return self.folder / "plans"

    @property
    def bundle(self) -> Path:
        """The signed bundle of our code that Flower ships."""
        return self.folder / "bundle"

    @property
    def flower(self) -> Path:
        """Flower's home: `config.toml`, the SuperLink's database, its secret and logs."""
        return self.folder / "flower"

    @property
    def flower_config(self) -> Path:
        """Flower's connections: the consortium's name stands for its SuperLink on the loopback address."""
        return self.flower / "config.toml"

    @property
    def superlink_database(self) -> Path:
        """The SuperLink's state."""
        return self.flower / "superlink.db"

    @property
    def superexec_secret(self) -> Path:
        """What the executor, in the place of Flower's superexec, shows the SuperLink."""
        return self.flower / "superexec.secret"

    @property
    def logs(self) -> Path:
        """Logs of the coordinator's programs."""
        return self.flower / "logs"

    @property
    def runs(self) -> Path:
        """A folder a run."""
        return self.folder / "runs"

    def run(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.runs / name

    @property
    def releases(self) -> Path:
        """Releases that were handed out, a folder a digest."""
        return self.folder / "releases"


def consortium_of(out: Path) -> Consortium | None:
    """Return the consortium in whose folder a run lies, None where it lies elsewhere."""
    runs = out.resolve().parent
    consortium = Consortium(runs.parent)
    return consortium if runs == consortium.runs and consortium.toml.is_file() else None
