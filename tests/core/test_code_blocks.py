import pytest

from transforms.core.code_blocks import find_code_blocks


def wholes(text: str, media_type: str) -> list[str]:
    """The outermost blocks, each whole."""
    blocks = find_code_blocks(text, media_type)
    return [
        text[start:end]
        for start, end in sorted({blocks.around(at)[0] for at in range(1, len(text)) if blocks.around(at)})
    ]


PYTHON = '''"""A module.

def not_a_function():
"""
import os
# About f.
@cache
def f(
    a,
) -> int:
    if a:
        return 1
    else:
        return 2
def g(): pass
'''
C = """#include <x.h>

/**
 * About f.
 */
int f(int a)
{
    if (a) {
        b();
    } else {
        c();
    }
#ifdef X
    d();
#endif
}
static int g(void) {
    return '"';
}
class A {
public:
    int x;
private:
    int y;
};
"""


def test_a_function_begins_with_its_comment_and_ends_before_the_next_one() -> None:
    assert wholes(PYTHON, "text/x-python") == [PYTHON[: PYTHON.index("def g")].strip(), "def g(): pass"]
    assert wholes(C, "text/x-c") == [
        "#include <x.h>",
        C[C.index("/**") : C.index("static")].strip(),
        C[C.index("static") : C.index("class")].strip(),
        C[C.index("class") :].strip(),
    ]


def test_blocks_lie_inside_others_by_their_indentation() -> None:
    blocks = find_code_blocks(C, "text/x-c")
    around = [C[start:end] for start, end in blocks.around(C.index("b();") + 1)]
    assert [part.split("\n")[0] for part in around] == ["/**", "if (a) {", "b();"]
    assert ("c();" in around[1], "d();" in around[1]) == (True, False)


def test_lines_inside_long_strings_and_comments_begin_nothing() -> None:
    text = 'a = """\n\nx = 1\n\n    y\n"""\n\n/*\n\nz\n*/\n'
    assert wholes(text, "text/x-python")[0] == 'a = """\n\nx = 1\n\n    y\n"""'
    assert wholes("/*\n\na\n\n    b\n*/\n\nint c;\n  d;", "text/x-c") == ["/*\n\na\n\n    b\n*/", "int c;\n  d;"]
    assert wholes('x = """\nnever closed\n\n\n  and more', "text/x-python") == ['x = """\nnever closed\n\n\n  and more']


def test_code_without_indentation_is_cut_at_its_brackets() -> None:
    text = "function a(){x;y}function b(){if(z){q(function(){u;'}';})}else{w}}var c=1;//}\n"
    assert wholes(text, "text/x-javascript") == [
        "function a(){x;y}",
        "function b(){if(z){q(function(){u;'}';})}else{w}}",
        "var c=1;//}",
    ]


@pytest.mark.parametrize("media_type", ["text/x-python", "text/x-c", "text/x-rust", "text/x-sql", "text/plain"])
@pytest.mark.parametrize("text", ["", "\n \n", "x", "}", "{", '"', "/*", "\t\tx\n\ty\nz\n      w"])
def test_odd_code_has_blocks_too(text: str, media_type: str) -> None:
    blocks = find_code_blocks(text, media_type)
    assert all(0 <= a < b <= len(text) for at in range(len(text)) for a, b in blocks.around(at))


def test_nesting_has_an_end() -> None:
    text = "\n".join(" " * depth + "x" for depth in range(1000))
    assert len(find_code_blocks(text, "text/x-python").around(len(text) - 1)) == 40


def test_where_blocks_begin_and_what_their_head_is() -> None:
    text = "class A:\n    def f():\n        x\n\n    def g():\n        y\n"
    blocks = find_code_blocks(text, "text/x-python")
    f, g, x = text.index("def f"), text.index("def g"), text.index("x")
    assert list(blocks.outermost_starts(0, len(text))) == [f, g]
    assert list(blocks.outermost_starts(f, g - 1)) == [x]
    assert [blocks.before_head(x, low) for low in (-1, 0, f)] == [0, f, x]
    assert (blocks.before_head(g, -1), blocks.before_head(x + 1, -1), blocks.before_head(len(text), -1)) == (
        g,
        x + 1,
        len(text),
    )
