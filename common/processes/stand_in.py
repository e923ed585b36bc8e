"""Functions of ours in the place of Flower's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType


def stand_in(module: ModuleType, ways: Mapping[str, Callable[..., object]]) -> None:
    """Put functions in the place of a module's own. Raises RuntimeError where it has not all of them."""
    if missing := [name for name in ways if not callable(getattr(module, name, None))]:
        names = ", ".join(missing)
        raise RuntimeError(f"this Flower runs tasks in another way ({names} missing); install the version we pin")
    vars(module).update(ways)


def install_nothing(*_: object, **__: object) -> None:
    """Stand for the installation of what a bundle depends on. Raises RuntimeError."""
    raise RuntimeError("nothing that a bundle asks for is installed here")
