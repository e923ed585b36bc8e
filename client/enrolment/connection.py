"""How a site's programs reach the server: through which proxy, trusting which authorities.

Flower's SuperNode speaks HTTPS with httpx, which takes its proxy from the environment and its authorities from the file
that `--root-certificates` names. What is returned here is for the one process that connects; it holds the proxy's
password and is never printed.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from client.config import SiteConfig
from client.enrolment.folder import SiteFolder
from common.files import write_whole
from common.identity.certificates import load_certificates

PROXIED, UNPROXIED = "HTTPS_PROXY", ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
"""Only the server is spoken to over HTTPS; a ClientApp speaks plain HTTP with its SuperNode, on loopback."""


def connection_environment(config: SiteConfig) -> dict[str, str]:
    """Return what the SuperNode's environment needs beside what it has; empty where `site.toml` names no proxy.

    Where it names one, what the machine's environment says of proxies no longer counts: empty values say so.
    """
    connection = config.connection
    environment: dict[str, str] = {}
    if connection.proxy is not None:
        proxy = connection.proxy.get_secret_value()
        for name, value in ((PROXIED, proxy), *((name, "") for name in UNPROXIED)):
            environment |= {name: value, name.lower(): value}
    if connection.extra_ca is not None:
        environment["SSL_CERT_FILE"] = str(connection.extra_ca)  # for a proxy that is itself spoken to over TLS
    return environment


def root_certificates(site_folder: SiteFolder) -> Path:
    """Return the file of authorities that the server's certificate may come from.

    It is the kit's; where an inspecting proxy puts a certificate of its own in the server's place, a file with both
    authorities, written anew because Flower takes nothing but ASCII, and such files like to have comments.

    Raises:
        StudyError: where one of the two holds no certificate.
    """
    extra = site_folder.config.connection.extra_ca
    if extra is None:
        return site_folder.ca
    trusted = [*load_certificates(site_folder.ca), *load_certificates(extra)]
    bundle = site_folder.flower / "roots.pem"
    write_whole(bundle, b"".join(held.public_bytes(Encoding.PEM) for held in trusted))
    return bundle
