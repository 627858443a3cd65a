"""Dialects are told from few lines; what looks like a delimiter inside values is none."""

import pytest

from components.tables.files.cell_types import cell_type
from components.tables.files.dialect import Dialect, detect_dialect
from components.tables.files.header import find_header, unique_names


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a;b;c\n1,5;2,5;x\n2,5;3,25;y\n", ";"),
        ("1,5;2,5\n2,5;3,25\n", ";"),
        ("name|tags\nx|a,b,c\ny|d,e,f\n", "|"),
        ("id,when\n1,12:30\n2,13:40\n", ","),
        ("id,at\n1,2020-01-01 12:30:00\n2,2020-01-02 13:40:00\n", ","),
        ("id,url\n1,http://x.org/a;b\n2,http://x.org/c;d\n", ","),
        ("id,path\n1,/a|b\n2,/c|d\n", ","),
        ("time\n12:30\n13:45\n", ""),
        ("name\nAnna Lee\nBob Ray\n", ""),
        ("when\n2020-01-01 12:30\n2020-01-02 13:40\n", ""),
        ("note\nI came, I saw, I won\nno, never\nyes\nwell\n", ""),
        ("1,2,3\n", ","),
        ("a\tb c\n1\tx y\n2\tz w\n", "\t"),
    ],
)
def test_the_delimiter(text: str, delimiter: str) -> None:
    assert detect_dialect(text).delimiter == delimiter


def test_what_is_pinned_is_taken() -> None:
    assert detect_dialect("a;b,c\n1;2,3\n", ",").delimiter == ","
    assert detect_dialect("a\tb\n1\t2\n", "\\t").delimiter == "\t"
    assert detect_dialect("a,b\n1,2\n", "").delimiter == ""


def test_quotes_and_escapes() -> None:
    assert detect_dialect("a,b\n1,'x, y'\n2,'z'\n").quote == "'"
    assert detect_dialect("a,b\n1,it's\n2,'tis\n").quote == '"'
    assert detect_dialect('a,b\n1,"x \\"q\\" y"\n2,"z"\n').escape == "\\"
    assert detect_dialect('a,b\n1,"C:\\dir"\n2,"D:\\"\n').escape == ""
    assert detect_dialect('a\tb\n"hi she said\tx\n"no he said\ty\n"so\tz\n"oh\tw\n').quote == ""


def test_comments_and_blanks() -> None:
    assert detect_dialect("# x\na,b\n1,2\n").comment == "#"
    assert detect_dialect("tag,n\n#one,2\n#two,3\n").comment == ""
    assert detect_dialect("a,b\n1, 2\n2, 3\n").skip_blanks
    assert not detect_dialect("a,b\n1,2\n2, x\n").skip_blanks


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a,b\n1,2\n3,4\n", ("a", "b")),
        ("1,2\n3,4\n", ()),
        ("x,red\ny,blue\nx,red\nz,blue\n", ()),
        ("name,colour\ny,blue\nx,red\nz,blue\n", ("name", "colour")),
        ("k,2019,2020\na,1,2\nb,3,4\n", ("k", "2019", "2020")),
        ("0,1,2\n5,7,x\n8,9,y\n", ("0", "1", "2")),
        ("NA,1\n2,3\n4,5\n", ()),
        ("a,b\nNA,NA\n1,2\n3,4\n", ("a", "b")),
    ],
)
def test_the_header(text: str, written: tuple[str, ...]) -> None:
    assert find_header(text, Dialect(), given=None).written == written


def test_names_are_made_unique() -> None:
    assert unique_names(["a", "a", "", "a_2", "__record", ""]) == (
        "a",
        "a_3",
        "column_3",
        "a_2",
        "__record_2",
        "column_6",
    )


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("1,234.50", "number"),
        ("1.234,50 €", "number"),
        ("-3e5", "number"),
        ("12 %", "number"),
        ("5,2", "number"),
        ("5,2,7", "odd"),
        ("1;2", "odd"),
        ("2020-01-01T10:00:00Z", "date"),
        ("3 Jan 2020", "date"),
        ("12:30", "date"),
        ("N/A", "empty"),
        ("yes", "boolean"),
        ("Elm St, Rome", "text"),
        ("http://x.org/a", "text"),
    ],
)
def test_cell_types(cell: str, kind: str) -> None:
    assert cell_type(cell) == kind
