"""Print how each package is built: files, rooms, floors, arrows between rooms and circles, read from its imports.

python tests/structure.py [PATH OF A CHECKOUT]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("redundancy", "bounds", "vlm")


@dataclass(frozen=True)
class Structure:
    """The rooms of a package and the imports between them.

    A room is a sub-package, or a single file beside the sub-packages. A package's root ``__init__`` and
    ``__main__`` stand above all rooms and are left out.
    """

    files: int
    rooms: frozenset[str]
    arrows: frozenset[tuple[str, str]]
    beside: int

    @property
    def circles(self) -> list[list[str]]:
        """Groups of rooms that import each other, directly or through others."""
        reached = {room: self._reachable(room) for room in self.rooms}
        groups = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in self.rooms if a in reached[a]}
        return [list(group) for group in sorted(groups)]

    @property
    def floors(self) -> int:
        """Length of the longest chain of imports, counted in rooms (rooms of a circle count once)."""
        depth: dict[str, int] = {}

        def floor(room: str, above: frozenset[str]) -> int:
            if room not in depth:
                below = [b for a, b in self.arrows if a == room and b not in above]
                depth[room] = 1 + max((floor(b, above | {room}) for b in below), default=0)
            return depth[room]

        return max(floor(room, frozenset()) for room in self.rooms)

    def _reachable(self, room: str) -> set[str]:
        reached: set[str] = set()
        stack = [room]
        while stack:
            for a, b in self.arrows:
                if a == stack[-1] and b not in reached:
                    reached.add(b)
                    stack.append(b)
                    break
            else:
                stack.pop()
        return reached


def imported_modules(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of the same checkout that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def structure(package: Path) -> Structure:
    """Read a package's files, rooms and arrows."""
    paths = sorted(package.rglob("*.py"))
    names = {path: ".".join(path.relative_to(package.parent).with_suffix("").parts) for path in paths}
    known = {name.removesuffix(".__init__") for name in names.values()}

    def room(module: str) -> str | None:
        parts = module.removesuffix(".__init__").split(".")
        return parts[1] if len(parts) > 1 and parts[0] == package.name and parts[1] != "__main__" else None

    rooms = {room(name) for name in names.values()} - {None}
    arrows = {
        (here, there)
        for path, name in names.items()
        if (here := room(name))
        for module in imported_modules(path, known)
        if (there := room(module)) and there != here
    }
    beside = sum(1 for path in package.glob("*.py"))
    return Structure(len(paths), frozenset(r for r in rooms if r), frozenset(arrows), beside)


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    print("package      files  beside the rooms  rooms  floors  arrows  circles")
    for name in PACKAGES:
        found = structure(root / name)
        counts = (found.files, found.beside, len(found.rooms), found.floors, len(found.arrows), len(found.circles))
        print(f"{name:11s} {counts[0]:6d} {counts[1]:17d} {counts[2]:6d} {counts[3]:7d} {counts[4]:7d} {counts[5]:8d}")


if __name__ == "__main__":
    main()
