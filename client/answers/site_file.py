"""Where the site's own file is: its node names it, never a message."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context

from common.errors import StudyError

SITE_KEY = "site"
"""Key of the node configuration: the path of `site.toml`. It is set at the site, never by the coordinator."""


def site_file(context: Context) -> Path:
    """Return the path of `site.toml`. Raises StudyError where the node configuration names none."""
    path = context.node_config.get(SITE_KEY)
    if not isinstance(path, str) or not path:
        raise StudyError(
            f"the node configuration names no site.toml; start the node with --node-config '{SITE_KEY}=\"…\"'"
        )
    return Path(path)
