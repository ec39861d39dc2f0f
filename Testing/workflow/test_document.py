"""One description makes a Markdown and an HTML page that say the same."""

from html.parser import HTMLParser

import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.workflow.document import (
    Figure,
    Heading,
    Items,
    Picture,
    Table,
    Text,
    shown,
    write_document,
)

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><text>x</text></svg>\n'
BLOCKS = [
    Heading("What was found"),
    Text("Run by `diffpose dataset` on a <machine> & more."),
    Items(["one", "two"]),
    Table(("subject", "trials", "TRE [mm]", "success"), [("a|b", 3, 0.12345, "67 %"), ("c", 12345, None, "100 %")]),
    Figure("errors", SVG, "The errors"),
    Picture("worst/1.png", "The worst"),
]


class _Tags(HTMLParser):
    VOID = ("meta", "img", "circle", "rect", "line")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_both_pages(tmp_path):
    write_document(tmp_path, "report", "A run", BLOCKS)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert markdown.startswith("# A run\n\n## What was found\n\nRun by `diffpose dataset` on a <machine> & more.\n")
    assert "| subject | trials | TRE [mm] | success |\n| --- | ---: | ---: | ---: |\n" in markdown
    assert "| a\\|b | 3 | 0.123 | 67 % |\n| c | 12345 | - | 100 % |\n" in markdown
    assert "![The errors](figures/errors.svg)" in markdown and "![The worst](worst/1.png)" in markdown
    assert (tmp_path / "figures" / "errors.svg").read_text(encoding="utf-8") == SVG

    page = _Tags()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.open == [] and page.seen.count("td") == 8 and page.seen.count("svg") == 1
    text = "".join(page.text)
    assert "on a <machine> & more" in text and "a|b" in text and "`" not in text


def test_cells():
    assert [shown(value) for value in (None, 3, 0.123456, 1234.56, "x")] == ["-", "3", "0.123", "1235", "x"]


def test_a_folder_that_takes_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_document(tmp_path / "gone", "report", "A run", [])
