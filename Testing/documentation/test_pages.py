"""The documentation names nothing that is not there: links, code, files, commands and their options."""

import argparse
import re
import shlex
from pathlib import Path

import pages
import pytest
from benchmarks import _door
from DiffPoseRegistrationLib.commandline import arguments, demo
from DiffPoseRegistrationLib.commandline.main import build_parser

PATH = re.compile(r"(?:DiffPoseRegistration|Resources|Testing|requirements|scripts)/[\w./-]*")
SNAKE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
# Names of other people's programs, which the library need not contain.
FOREIGN = {"slicer_add_python_unittest"}
OF_EVERYTHING = {"--help", "-k", "-m"}  # and of pytest, to which scripts/test hands on

every_page = pytest.mark.parametrize(
    "page", pages.PAGES, ids=lambda page: page.relative_to(pages.REPOSITORY).as_posix()
)


def _text(page):
    return page.read_text(encoding="utf-8")


@every_page
def test_links_lead_somewhere(page):
    wrong = []
    for target in pages.links(_text(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        if not place.exists() or (anchor and anchor not in pages.anchors(_text(place))):
            wrong.append(target)
    assert not wrong


@every_page
def test_named_code_exists(page):
    rooms = pages.rooms()
    named = [name for name in pages.code(_text(page)) if re.fullmatch(rf"(?:{'|'.join(rooms)})(?:\.\w+)+", name)]
    assert not [name for name in named if not pages.exists_in_library(name)]


@every_page
def test_named_keys_and_functions_exist(page):
    if page.parent.name == "benchmarks":
        pytest.skip("the columns of a record are its benchmark's own")
    named = {name for name in pages.code(_text(page)) if SNAKE.fullmatch(name)} - FOREIGN
    assert not named - pages.words_of_library()


@every_page
def test_named_files_exist(page):
    named = {match[0].rstrip(".") for name in pages.code(_text(page)) if (match := PATH.fullmatch(name))}
    assert not [name for name in named if not (pages.REPOSITORY / name).exists()]


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def _subparser(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    choices = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert name in choices, f"there is no command {name}"
    return choices[name]


def known_options(script: str, words: list[str]) -> set[str]:
    """The options that ``scripts/SCRIPT WORDS`` takes."""
    if script == "diffpose":
        parser = build_parser()
        for word in words:
            if not re.fullmatch("[a-z]+", word):
                break
            parser = _subparser(parser, word)
        return _options(parser)
    sources = {"demo": [demo.__file__, arguments.__file__]}.get(script, [pages.REPOSITORY / "scripts" / script])
    if script == "benchmark":
        assert words[0] in _door.available(), f"there is no benchmark {words[0]}"
        sources = [_door.__file__, _door.FOLDER / f"{words[0]}.py"]
    return {option for file in sources for option in re.findall(r"--[a-z-]+", Path(file).read_text(encoding="utf-8"))}


@every_page
def test_commands_exist_and_take_their_options(page):
    for line in pages.command_lines(_text(page)):
        script, *words = shlex.split(line)
        assert (pages.REPOSITORY / "scripts" / script).is_file(), line
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        names_no_particular_one = bool(words) and words[0].isupper()  # COMMAND, NAME
        if used - {"--help"} and not names_no_particular_one:
            assert used <= known_options(script, words) | OF_EVERYTHING, line


def test_the_checks_see_what_they_look_for():
    text = "See [a](b.md#c-d) and `geometry.rigid.hat`.\n\n## C *d*\n\n```\nscripts/test --slow  # all\n```\n"
    assert pages.links(text) == ["b.md#c-d"] and pages.anchors(text) == {"c-d"}
    assert pages.command_lines(text) == ["test --slow"]
    assert pages.exists_in_library("refinement.similarity.WindowedNCC.terms")
    assert pages.exists_in_library("geometry.camera.Camera.rows") and pages.exists_in_library("app.panel")
    for wrong in ("refinement.similarity.WindowedNcc", "refinement.similar", "geometry.camera.Camera.nothing"):
        assert not pages.exists_in_library(wrong)
    assert "no_such_name" not in pages.words_of_library()
