"""htmx: the one script that is not ours, taken from an installed package, so that no page asks another machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from common.errors import GliofedError

PACKAGE, FILE = "django_htmx", "static/django_htmx/htmx-2.min.js"


def htmx_script() -> bytes:
    """Return the script. The package is found, not imported: Django is not needed. Raises GliofedError without it."""
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / FILE
        if path.is_file():
            return path.read_bytes()
    raise GliofedError("htmx is missing, which comes with django-htmx; install it: pip install 'gliofed[server]'")
