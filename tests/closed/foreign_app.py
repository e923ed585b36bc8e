"""A bundle of somebody else's: each side of it leaves a mark where it is loaded."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import tomli_w

from server.hosting.bundle import unset_run_config


def foreign_bundle(mark: Path) -> bytes:
    """Return it in Flower's format, with the keys of our run configuration; the mark is the file to be left."""
    leaves = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    components = {"serverapp": "theirs.sender:app", "clientapp": "theirs.receiver:app"}
    app = {"publisher": "nobody", "components": components, "config": unset_run_config()}
    project = {
        "project": {"name": "theirs", "version": "0.1.0", "description": "", "license": "Apache-2.0"},
        "tool": {"flwr": {"app": app}},
    }
    files = {
        "pyproject.toml": tomli_w.dumps(project),
        "theirs/__init__.py": "",
        "theirs/sender.py": f"{leaves}from flwr.serverapp import ServerApp\napp = ServerApp()\n"
        "@app.main()\ndef main(grid, context):\n    pass\n",
        "theirs/receiver.py": f"{leaves}from flwr.clientapp import ClientApp\napp = ClientApp()\n",
    }
    manifest = [f"{path},{hashlib.sha256(text.encode()).hexdigest()},{8 * len(text)}" for path, text in files.items()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in {**files, ".info/CONTENT": "\n".join(manifest)}.items():
            archive.writestr(path, text)
    return packed.getvalue()
