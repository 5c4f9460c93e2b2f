"""Walk through XML that may be hostile, event by event; the secret kept here is the parser, and what it must refuse."""

from collections.abc import Callable
from xml.parsers import expat

from transforms.errors import UnreadableDocument

StartHandler = Callable[[str, dict[str, str]], None]
EndHandler = Callable[[str], object]
TextHandler = Callable[[str], None]


def walk_xml(content: bytes, start: StartHandler, end: EndHandler, text: TextHandler) -> None:
    """Call back for each tag and text, in order; names come without their namespaces, in elements and attributes.

    No tree is built, nothing is fetched. A document type is refused: office documents and books have none that matter, and
    entities that grow exponentially live in it.

    Raises:
        UnreadableDocument: ``damaged``, with the line.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def begin(name: str, attributes: dict[str, str]) -> None:
        start(name.rpartition(" ")[2], {key.rpartition(" ")[2]: value for key, value in attributes.items()})

    def refuse(*_: object) -> None:
        raise UnreadableDocument("damaged: its XML defines entities, which no such document needs")

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda name: end(name.rpartition(" ")[2])
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise UnreadableDocument(f"damaged: its XML is broken ({error})") from None
