"""The dossier of a release, for the people who are to use it: JSON for programs, one HTML page for everybody else."""

from server.dossier.dossier import DOSSIER_JSON, DOSSIER_PAGE, ReleaseDossier, dossier_of
from server.dossier.page import render_page

__all__ = ["DOSSIER_JSON", "DOSSIER_PAGE", "ReleaseDossier", "dossier_of", "render_page"]
