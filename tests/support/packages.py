"""Documents that are built of bytes, so that a test can build a broken one, too."""

import io
import zipfile
from collections.abc import Mapping

TYPES = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
STYLES = f"""<w:styles {WORD}><w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>
<w:style w:styleId="Titel"><w:name w:val="Title"/></w:style></w:styles>"""


def make_zip(members: Mapping[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def relations(*targets: tuple[str, str, str]) -> str:
    """(id, last word of the type, target) each."""
    lines = [f'<Relationship Id="{name}" Type="{_RELATION}{kind}" Target="{to}"/>' for name, kind, to in targets]
    return f"<Relationships>{''.join(lines)}</Relationships>"


def make_word(body: str, **parts: str) -> bytes:
    """A DOCX of this body; parts such as ``footnotes`` hold XML, ``core`` the properties."""
    own = [(kind, kind, f"{kind}.xml") for kind in ("styles", *parts) if kind != "core"]
    return make_zip(
        {
            "[Content_Types].xml": TYPES,
            "_rels/.rels": relations(
                ("a", "officeDocument", "word/document.xml"), ("b", "metadata/core-properties", "docProps/core.xml")
            ),
            "word/document.xml": f"<w:document {WORD}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": relations(*own),
            "word/styles.xml": STYLES,
            **{("docProps/core.xml" if kind == "core" else f"word/{kind}.xml"): part for kind, part in parts.items()},
        }
    )


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def make_slides(slides: list[str], notes: str = "") -> bytes:
    """A PPTX, its slides stored in the opposite order of their names; notes belong to the first."""
    count = len(slides)
    numbers = range(count, 0, -1)
    order = "".join(f'<p:sldId id="{255 + n}" r:id="r{n}"/>' for n in numbers)
    names = 'xmlns:p="p" xmlns:r="r" xmlns:a="a"'
    members = {
        "[Content_Types].xml": TYPES,
        "_rels/.rels": relations(("a", "officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f"<p:presentation {names}><p:sldIdLst>{order}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(*((f"r{n}", "slide", f"slides/slide{n}.xml") for n in numbers)),
        f"ppt/slides/_rels/slide{count}.xml.rels": relations(("n", "notesSlide", "../notesSlides/n1.xml")),
        **{f"ppt/slides/slide{n}.xml": f"<p:sld {names}>{slides[count - n]}</p:sld>" for n in numbers},
    }
    if notes:
        members["ppt/notesSlides/n1.xml"] = f"<p:notes {names}>{notes}</p:notes>"
    return make_zip(members)


def shape(kind: str, *lines: str) -> str:
    text = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in lines)
    return f'<p:sp><p:nvPr><p:ph type="{kind}"/></p:nvPr><p:txBody>{text}</p:txBody></p:sp>'


def make_workbook(sheets: Mapping[str, str], strings: str = "", styles: str = "", properties: str = "") -> bytes:
    """An XLSX; a sheet is the XML of its rows."""
    names = [f'<sheet name="{name}" sheetId="{n}" r:id="s{n}"/>' for n, name in enumerate(sheets)]
    targets = [(f"s{n}", "worksheet", f"worksheets/sheet{n}.xml") for n in range(len(sheets))]
    targets += [("t", "sharedStrings", "/xl/sharedStrings.xml"), ("y", "styles", "styles.xml")]
    return make_zip(
        {
            "[Content_Types].xml": TYPES,
            "_rels/.rels": relations(("a", "officeDocument", "xl/workbook.xml")),
            "xl/workbook.xml": f'<workbook xmlns:r="r">{properties}<sheets>{"".join(names)}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(*targets),
            "xl/sharedStrings.xml": f"<sst>{strings}</sst>",
            "xl/styles.xml": f"<styleSheet>{styles}</styleSheet>",
            **{
                f"xl/worksheets/sheet{n}.xml": f"<worksheet><sheetData>{rows}</sheetData></worksheet>"
                for n, rows in enumerate(sheets.values())
            },
        }
    )


def make_book(chapters: Mapping[str, str], **others: str) -> bytes:
    """An EPUB whose chapters are read in the order given."""
    items = "".join(
        f'<item id="{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="{n}"/>' for n in range(len(chapters)))
    package = (
        '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>A Book</dc:title><dc:title>Sub</dc:title>'
        f"<dc:language>en</dc:language></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    return make_zip(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/p.opf"/></rootfiles></container>',
            "OPS/p.opf": package,
            **{f"OPS/{name.replace('%20', ' ')}": text for name, text in chapters.items()},
            **{f"META-INF/{name}.xml": text for name, text in others.items()},
        }
    )


def make_pdf(pages: list[list[str]], title: str = "", trailer: str = "") -> bytes:
    """A PDF of lines of Latin text, written plainly; ``trailer`` adds entries, as for an encrypted one."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n, lines in enumerate(pages):
        drawn = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
        stream = f"BT /F1 12 Tf 72 720 Td {drawn} ET"
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * n} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>"
        )
        objects.append(f"<</Length {len(stream)}>>stream\n{stream}\nendstream")
    objects.append(f"<</Title({title})>>")
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    end += f"trailer<</Size {len(objects) + 1}/Root 1 0 R/Info {len(objects)} 0 R{trailer}>>\nstartxref\n{len(body)}\n%%EOF"
    return body + end.encode("latin-1")


ENCRYPTED = (
    "/Encrypt<</Filter/Standard/V 1/R 2/P -4/O("
    + "o" * 32
    + ")/U("
    + "u" * 32
    + ")>>/ID[(0123456789abcdef)(0123456789abcdef)]"
)
