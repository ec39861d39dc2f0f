"""Progress on a terminal is one line that is redrawn, elsewhere a few plain lines."""

import io

import pytest
from DiffPoseRegistrationLib.commandline.progress import TerminalProgress, compile_renderer, duration
from DiffPoseRegistrationLib.rendering import warm_up


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_bar_on_a_terminal():
    stream = _Terminal()
    with TerminalProgress("Preparing", stream) as progress:
        progress(0.5, "loss 0.1", 75)
    text = stream.getvalue()
    assert text.startswith("\r") and text.endswith("\n")
    assert "50%" in text and "1 min 15 s left" in text and text.count("█") == 12


def test_plain_lines_elsewhere():
    stream = io.StringIO()
    with TerminalProgress("Preparing", stream) as progress:
        for n in range(101):
            progress(n / 100, "loss", 1.0)
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue() and len(lines) == 2
    assert lines[0].startswith("Preparing   0%") and lines[-1].startswith("Preparing 100%")


def test_ascii_console():
    class Old(_Terminal):
        encoding = "cp437"

    stream = Old()
    with TerminalProgress("", stream) as progress:
        progress(0.25, "x", None)
    assert stream.getvalue().isascii() and stream.getvalue().count("#") == 6


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (75, "1 min 15 s"), (3700, "1 h 01 min")])
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_a_wait_for_the_compiler_is_announced(monkeypatch, capsys):
    monkeypatch.setattr(warm_up, "warm_up", lambda tell: tell("Compiling, be patient."))
    compile_renderer()
    assert capsys.readouterr().err == "Compiling, be patient.\n"
