"""Encodings are told from short evidence, and nothing undecodable passes unseen."""

import io
from functools import partial

import pytest

from components.errors import DataError
from components.tables.files.charsets import best_charset
from components.tables.files.encoding import (
    EncodingForm,
    detect_encoding,
    resolve_marks,
    show_marks,
    text_blocks,
    undo_double,
)

TEXTS = {
    "French": ("Hélène,Besançon\ncœur,Évry\nprix 12 €,été", ["cp1252", "iso8859_15", "mac_roman"]),
    "German": ("Müller,Köln\nGröße,Straße\nÄpfel,Übung", ["cp1252", "mac_roman", "cp850"]),
    "Spanish": ("José,Señor,¿qué?,Málaga\nPeñón", ["cp1252", "mac_roman", "cp850"]),
    "Danish": ("Ørsted,Åse,Sæther\nBjörn,Søren", ["cp1252", "mac_roman", "cp850"]),
    "Polish": ("Łódź,Gdańsk,Wrocław\nżółć", ["cp1250", "iso8859_2"]),
    "Czech": ("Příliš,žluťoučký,kůň\nDvořák", ["cp1250", "iso8859_2"]),
    "Hungarian": ("Győr,Székesfehérvár\nKőszeg,fű", ["cp1250", "iso8859_2"]),
    "Russian": ("Иван,Москва|Ольга,Казань", ["cp1251", "koi8_r", "cp866"]),
    "Greek": ("Γιώργος,Αθήνα|Μαρία", ["cp1253"]),
    "Turkish": ("Şişli,İstanbul,Çağr\u0131\n\u0131ğd\u0131r", ["cp1254"]),
    "Japanese": ("田中さん,東京\nさくら,カナ", ["cp932", "euc_jp"]),
    "Chinese": ("张伟,北京\n王芳,上海", ["gb18030"]),
    "Korean": ("김철수,서울\n이영희,부산", ["euc_kr"]),
    "one word": ("Zoë", ["cp1252", "mac_roman"]),
    "degrees": ("25 °C\n30°C", ["cp1252", "cp850"]),
    "prices": ("5 €\n7 €", ["cp1252", "iso8859_15", "mac_roman"]),
    "quotes": ("“hello” it\u2019s \u2013 ok", ["cp1252", "mac_roman"]),
    "Kanji alone": ("1,東京都,12\n2,東京都,8", ["cp932"]),
    "accents in a row": ("öğüt,çığ,güneş\nçiçek,ağaç", ["cp1254"]),
}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param(text, name, id=f"{key}-{name}")
        for key, (text, ns) in TEXTS.items()
        for name in ns
    ],
)
def test_letters_tell_the_encoding(text: str, name: str) -> None:
    text = text.replace("|", "\n")
    data = text.encode(name)
    assert data.decode(best_charset(data).name) == text


def test_one_sign_among_thousand_letters_tells() -> None:
    text = "été, Hélène, Évry\n" * 300 + "cœur\n"
    data = text.encode("iso8859_15")
    assert best_charset(data).name == "iso8859_15"


def form_of(data: bytes) -> EncodingForm:
    return detect_encoding(lambda: io.BytesIO(data), "t.csv")


def test_characters_may_be_cut_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "é€𝄞語," * 50
    for size in (7, 8, 9):
        monkeypatch.setattr("components.tables.files.encoding._BLOCK_BYTES", size)
        for name in ("utf-8", "utf-16", "gb18030", "utf-32-le"):
            data = text.encode(name)
            form = detect_encoding(partial(io.BytesIO, data), "t.csv", name)
            assert "".join(text_blocks(partial(io.BytesIO, data), form, "t.csv")) == text


def test_undecodable_bytes_are_counted_and_kept_visible() -> None:
    data = "naïve café, Zoë\n".encode() + b"x\xe9y\xffz\x00\n"
    form = form_of(data)
    assert (form.name, form.undecodable) == ("utf-8", 2)
    text = "".join(text_blocks(lambda: io.BytesIO(data), form, "t.csv"))
    assert show_marks(text).endswith("x\\xe9y\\xffz\\x00\n")
    assert resolve_marks(text, "utf-8").endswith("xéyÿz\n")
    assert resolve_marks(text, "cp932").endswith("x\ufffdy\ufffdz\n")


def test_double_encoding_is_undone_only_where_it_can_be() -> None:
    assert undo_double("CafÃ© â€“ 5 â\u201a¬") == "Café \u2013 5 €"
    assert undo_double("SÃO") == "SÃO"
    assert undo_double("Ã\x8dris") == "Íris"
    assert not form_of("Café CafÃ©".encode()).double


def test_names_of_columns_are_no_signatures() -> None:
    for head in (b"ORCID,name\n1,2\n", b"PAR1,PAR2\n1,2\n", b"BMI,age\n1,2\n", b"GIF89,x\n1,2\n"):
        assert form_of(head).told_by == "ascii"
    with pytest.raises(DataError, match="an ORC file"):
        form_of(b"ORC\x11\x00\x00\x0a" + bytes(64))
