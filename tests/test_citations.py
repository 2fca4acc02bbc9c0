"""What code, tests and pages cite by number or by name stands in the repository."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import pytest

from tests.test_tidy import TOP, complain, name_of, texts

DOCS = TOP / "docs"
_NUMBERS = r"(?P<numbers>\d+(?:(?:, | and | or | to )\d+)*)"
_DECISION = re.compile(rf"\bdecisions?\s+{_NUMBERS}", re.IGNORECASE)
_COMPLAINT = re.compile(rf"\bcomplaints?\s+{_NUMBERS}", re.IGNORECASE)
_SAFETY_BUG = re.compile(r"\bS(?P<numbers>[1-9]\d?)\b")
_DESIGN = re.compile(r"\bdesign/(?P<numbers>\d{4})\b")
_PAGE = re.compile(r"(?<![\w{}*/.-])(?P<page>[\w./-]+\.md)\b")


def numbered(page: str, row: str) -> set[str]:
    """Return the numbers that a page's rows of this form define."""
    return set(re.findall(rf"(?m)^{row}", (DOCS / page).read_text(encoding="utf-8")))


def design_pages() -> set[str]:
    """Return the numbers of the pages of docs/design, without leading zeros."""
    return {path.name[:4].lstrip("0") for path in (DOCS / "design").glob("[0-9]*.md")}


DECISIONS = numbered("design/decisions.md", r"(\d+)\. ") | design_pages()
COMPLAINTS = numbered("reference/complaints.md", r"(\d+)\. ")
SAFETY_BUGS = numbered("reference/safety-bugs.md", r"- S(\d+) ")
KINDS = (
    ("decision", _DECISION, DECISIONS),
    ("complaint", _COMPLAINT, COMPLAINTS),
    ("safety bug", _SAFETY_BUG, SAFETY_BUGS),
    ("design page", _DESIGN, design_pages()),
)


def dangling(text: str) -> Iterator[str]:
    """Yield what a text cites by a number that is defined nowhere."""
    for kind, pattern, defined in KINDS:
        for match in pattern.finditer(text):
            for number in re.findall(r"\d+", match["numbers"]):
                if number.lstrip("0") not in defined:
                    yield f"{kind} {number}"


def missing_pages(path: pathlib.Path, text: str) -> Iterator[str]:
    """Yield the pages that a text names and that are neither beside it nor where pages stand."""
    for match in _PAGE.finditer(text):
        page = match["page"]
        if not any((place / page).exists() for place in (path.parent, TOP, DOCS, TOP / "tests")):
            yield page


def test_the_list_of_decisions_is_whole() -> None:
    """Every page of docs/design has its row in decisions.md, with its own number."""
    listed = (DOCS / "design" / "decisions.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (\d+) \| \[.+\]\((\d{4})-\S+\.md\) \|$", listed)
    assert [number for number, _ in rows] == sorted(design_pages(), key=int)
    assert [page.lstrip("0") for _, page in rows] == [number for number, _ in rows]


def test_every_number_cited_is_defined() -> None:
    """Decisions, complaints, S-numbers and pages of docs/design: each has its definition here."""
    complain(
        [
            f"{name_of(path)}: {citation}"
            for path in texts()
            if path.name != pathlib.Path(__file__).name
            for citation in dangling(path.read_text(encoding="utf-8"))
        ]
    )


def test_every_page_cited_exists() -> None:
    """A page that code names can be opened; links between pages are test_docs' business."""
    own = {"test_docs.py", pathlib.Path(__file__).name}
    complain(
        [
            f"{name_of(path)}: {page}"
            for path in texts()
            if path.suffix != ".md" and path.name not in own
            for page in missing_pages(path, path.read_text(encoding="utf-8"))
        ]
    )


def test_a_number_means_one_thing() -> None:
    """No page of docs/design has the number of a decision that stands in decisions.md."""
    assert not numbered("design/decisions.md", r"(\d+)\. ") & design_pages()
    assert len(DECISIONS) == max(map(int, DECISIONS))


@pytest.mark.parametrize(
    "text",
    ["(decision 99)", "decisions 3 and 99", "see S46.", "complaint 999", "docs/design/0099"],
)
def test_a_dangling_citation_would_be_noticed(text: str) -> None:
    """Each kind of citation is refused if nothing defines its number."""
    assert list(dangling(text))
    assert not list(dangling("decision 3, S45, complaint 1 and docs/design/0024"))
    assert list(missing_pages(TOP / "README.md", "as gone.md says"))
