import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.core.decoding import decode_text, detected_encoding, sample_encoding
from transforms.errors import UnreadableDocument

GERMAN = "Der Bäcker öffnet früh am Morgen die Tür, weil die Brötchen für die Gäste schön frisch sein müssen. Über der Straße. "
FRENCH = "Le café était déjà fermé lorsque l’été s’achevait à Orléans; les élèves préféraient la bibliothèque très agréable. "
POLISH = (
    "Zażółć gęślą jaźń. Wczoraj późnym wieczorem żółw szedł przez łąkę, śpiewając cichą pieśń o miłości i źródłach. "
)
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. Вчера вечером мы ходили в театр. "
GREEK = "Η γρήγορη αλεπού πηδά πάνω από το τεμπέλικο σκυλί. Χθες το βράδυ πήγαμε στο θέατρο. "
TURKISH = "Pijamalı hasta yağız şoföre çabucak güvendi. Dün akşam tiyatroya gittik ve çok güzel bir oyun izledik, öğrenciler. "
JAPANESE = "今日は天気がいいので、公園を散歩しました。カタカナとひらがなと漢字が混ざった文章です。"
CHINESE = "今天天气很好，我们去公园散步。他们在家里看书、写字、画画和唱歌。明天可能会下雨。"
TAIWANESE = "今天天氣很好，我們去公園散步。他們在家裡看書、寫字、畫畫和唱歌。明天可能會下雨。"
KOREAN = "오늘은 날씨가 좋아서 공원에서 산책을 했습니다. 내일은 비가 올 것입니다. 그들은 집에서 책을 읽습니다."
HEBREW = "היום מזג האוויר יפה ולכן הלכנו לטייל בפארק. מחר ירד גשם כנראה והילדים יישארו בבית. "
ARABIC = "اليوم الطقس جميل لذلك ذهبنا للتنزه في الحديقة. غدا سوف تمطر على الأرجح وسيبقى الأطفال في المنزل. "


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "windows-1252"), (GERMAN, "iso-8859-1"), (FRENCH, "windows-1252"), (POLISH, "windows-1250"),
        (POLISH, "iso-8859-2"), (RUSSIAN, "windows-1251"), (RUSSIAN, "koi8-r"), (RUSSIAN, "cp866"), (GREEK, "iso-8859-7"),
        (TURKISH, "windows-1254"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp"), (CHINESE, "gb18030"), (TAIWANESE, "big5"),
        (KOREAN, "cp949"), (HEBREW, "windows-1255"), (ARABIC, "windows-1256"),
    ],
)  # fmt: skip
def test_a_text_long_enough_is_read_in_the_encoding_that_it_looks_like_and_says_so(text: str, encoding: str) -> None:
    content = (text * 3).encode(encoding)
    decoded = decode_text(content)
    assert decoded.text == text * 3
    assert content.decode(str(decoded.notes["encoding"])) == decoded.text


def test_a_text_too_short_to_tell_is_refused() -> None:
    with pytest.raises(UnreadableDocument, match=r"^undecodable: byte 3 is 0xe9, which is no UTF-8 \(invalid"):
        decode_text("café au lait".encode("latin-1"))


def test_what_is_above_ascii_late_in_a_text_is_found() -> None:
    content = b"plain words " * 20_000 + (GERMAN * 4).encode("latin-1")
    assert decode_text(content).notes == {"encoding": "cp1252"}


def test_the_declared_encoding_is_believed_where_utf_8_does_not_fit() -> None:
    assert decode_text("café".encode("cp850"), "cp850").notes == {"encoding": "cp850"}
    assert decode_text("café".encode(), "cp850").text == "café"
    assert decode_text("café".encode(), "no-such-thing").notes == {}


def test_a_few_broken_bytes_of_utf_8_are_marked_and_counted() -> None:
    content = ("Größe und Wörter. " * 200).encode() + b"\xff\xfe " + b"end"
    decoded = decode_text(content)
    assert decoded.text.endswith(" \ufffd end")
    assert decoded.notes == {"undecodable_bytes": 2}


@pytest.mark.parametrize(("times", "notes"), [(600, {"undecodable_bytes": 1}), (20, None)])
def test_broken_utf_8_is_not_taken_for_another_encoding(times: int, notes: dict[str, object] | None) -> None:
    content = ("Größe und Wörter. " * times).encode() + b"\xc3a end"
    assert detected_encoding(content) == "cp949"
    if notes is None:
        with pytest.raises(UnreadableDocument, match=r"^undecodable: "):
            decode_text(content)
    else:
        assert decode_text(content).notes == notes


def test_one_byte_in_a_long_text_of_ascii_is_marked_and_counted() -> None:
    content = b"plain words " * 500 + b"caf\xe9."
    assert decode_text(content).notes == {"undecodable_bytes": 1}
    assert decode_text(content).text.endswith("caf\ufffd.")


def test_too_many_broken_bytes_are_refused() -> None:
    with pytest.raises(UnreadableDocument, match=r"^undecodable: byte 600 "):
        decode_text(b"words " * 100 + b"\xff\xfe" * 4)


def test_bytes_that_are_no_text_are_not_taken_for_one() -> None:
    noise = bytes((7 * n * n + 13 * n) % 255 + 1 for n in range(5_000))
    assert detected_encoding(noise) is None
    with pytest.raises(UnreadableDocument, match=r"^undecodable: "):
        decode_text(noise)


def test_a_sample_may_end_within_a_character() -> None:
    assert sample_encoding("日本".encode()[:-1]) == "utf-8"
    assert sample_encoding((GERMAN * 4).encode("latin-1")) == "cp1252"
    assert sample_encoding("x".encode("utf-16")) == "utf-16-le"


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_text_that_encodes_or_refused(content: bytes) -> None:
    reason = ""
    try:
        decode_text(content).text.encode()
    except UnreadableDocument as error:
        reason = str(error).partition(": ")[0]
    assert reason in ("", "undecodable", "binary")


@given(st.text(st.characters(codec="utf-8"), max_size=100), st.integers(0, 100), st.integers(0x80, 0xFF))
@settings(max_examples=200, deadline=None)
def test_a_replacement_is_never_silent(text: str, place: int, byte: int) -> None:
    content = ("Wörter. " * 600 + text).encode()
    broken = content[:place] + bytes([byte]) + content[place:]
    decoded = decode_text(broken)
    assert decoded.text.count("\ufffd") > text.count("\ufffd") or decoded.notes == {} or "encoding" in decoded.notes
    assert decoded.notes or decoded.text.encode() == broken
