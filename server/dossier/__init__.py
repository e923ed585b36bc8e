"""The dossier of a release, for the people who are to use it: JSON for programs, one HTML page for everybody else."""

from server.dossier.dossier import DOSSIER_JSON, DOSSIER_PAGE, ReleaseDossier, dossier_of, read_release_dossier
from server.dossier.page import render_page
from server.dossier.pictures import pictures_of

__all__ = [
    "DOSSIER_JSON",
    "DOSSIER_PAGE",
    "ReleaseDossier",
    "dossier_of",
    "pictures_of",
    "read_release_dossier",
    "render_page",
]
