"""Any other layout: patterns that a site writes into its `site.toml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from client.data.cache import LabelKind
from client.data.layouts.layout import Extra, Layout, Role, ScanFile
from common.sequences import Sequence


def pattern_to_regex(pattern: str) -> re.Pattern[str]:
    """Compile a path pattern: `{case}` and `{patient}` are parts of a name, `*` and `**` match as in a shell."""
    seen: set[str] = set()
    parts: list[str] = []
    for token in re.split(r"(\*\*/|\*\*|\*|\?|{case}|{patient})", pattern):
        if token in ("{case}", "{patient}"):
            name = token[1:-1]
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)")
            seen.add(name)
        else:
            parts.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token)))
    return re.compile("".join(parts))


def mapped_layout(patterns: Mapping[str, str], label_kind: LabelKind, et_label: int) -> Layout:
    """Return the layout of a site's own patterns; a file that fits none of them is left out, as the site asked."""
    expressions: list[tuple[Role, re.Pattern[str]]] = [
        (Extra(word) if word in (Extra.BRAIN, Extra.LABELS) else Sequence(word), pattern_to_regex(pattern))
        for word, pattern in patterns.items()
    ]

    def read(path: PurePosixPath) -> ScanFile:
        for role, expression in expressions:
            match = expression.fullmatch(path.as_posix())
            if match is not None:
                return ScanFile(match["case"], match.groupdict().get("patient") or match["case"], role)
        return ScanFile("", "", Extra.IGNORED)

    return Layout("mapping", read, label_kind, et_label)
