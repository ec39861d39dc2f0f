"""What the documentation's pages name: links, code, files, commands."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "DiffPoseRegistration" / "DiffPoseRegistrationLib"
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "Resources").glob("*.md"), *(REPOSITORY / "Resources").glob("*/*.md")]
)

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    return _LINK.findall(_FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings."""
    headings = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", one) for one in _HEADING.findall(_FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def code(text: str) -> list[str]:
    """What stands between backticks in a line."""
    return _CODE.findall(_FENCE.sub("", text))


def command_lines(text: str) -> list[str]:
    """Commands of ``scripts/``, without that word, in fenced blocks and between backticks."""
    pieces = [line for block in _FENCE.findall(text) for line in block.splitlines()[1:-1]] + code(text)
    pattern = r"(?:(?:python3? )?scripts/|(?=diffpose \w))(\w+(?: .*)?)"
    found = (re.match(pattern, piece.strip()) for piece in pieces)
    return [match[1].partition(" #")[0].strip() for match in found if match]


def rooms() -> list[str]:
    """The library's packages."""
    return sorted(path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file())


def exists_in_library(dotted: str) -> bool:
    """Whether ``room.module.Name.attribute`` (any part of it from the front) is in the library's sources."""
    place, *rest = [LIBRARY, *dotted.split(".")]
    while rest and (place / rest[0]).is_dir():
        place = place / rest.pop(0)
    if not rest:
        return True
    file = place / f"{rest.pop(0)}.py"
    if not file.is_file():
        return False
    body = _tree(file).body
    while rest:
        name = rest.pop(0)
        found = next((node for node in body if name in _names(node)), None)
        if found is None:
            return False
        body = found.body if isinstance(found, ast.ClassDef) else []
    return True


def words_of_library() -> set[str]:
    """Every identifier and every word inside a string of the library and the module file."""
    return _words(tuple(sorted(LIBRARY.parent.rglob("*.py"))))


@functools.cache
def _words(files: tuple[Path, ...]) -> set[str]:
    return {word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _names(node: ast.stmt) -> set[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign):
        return {node.target.id} if isinstance(node.target, ast.Name) else set()
    if isinstance(node, ast.Assign):
        return {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    if isinstance(node, ast.If | ast.Try):
        return {name for inner in node.body for name in _names(inner)}
    return set()
