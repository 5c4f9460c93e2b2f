"""What the README promises: its commands exist, its config is the real one, and what it shows is what is printed."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.cli import main
from pipeline.command_line import command_parser
from pipeline.config import known_keys, parse_config
from tests.support.rehearsal import rehearsal
from transforms.errors import STOPPING_ERRORS
from transforms.storage.exports.formats import FORMATS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ").split("#")[0].strip()
    for kind, block in BLOCKS
    if kind in ("", "sh")
    for line in block.splitlines()
    if re.match(r"(\$ )?(embedbeam|make) ", line)
]
TYPED = [words for words in map(shlex.split, COMMANDS) if words[0] == "embedbeam"]
MOST_BYTES_OF_PICTURES = 150_000


def test_there_are_commands() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"embedbeam", "make"}


def test_every_command_of_embedbeam_is_named() -> None:
    (names,) = [action.choices for action in command_parser(None)._actions if action.dest == "command"]
    assert names
    assert [name for name in names if f"embedbeam {name}" not in README] == []


@pytest.mark.parametrize("command", [*COMMANDS, *re.findall(r"`((?:embedbeam [a-z]|make )[^`]*)`", README)])
def test_command_exists_with_these_options(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    own = words[: words.index("--")] if "--" in words else words
    parsed = command_parser(own[0]).parse_args(own)
    assert not hasattr(parsed, "config") or Path(parsed.config).name == "my.yaml" or (ROOT / parsed.config).exists()


def shown(command: str) -> str:
    """What the README shows below a command."""
    (block,) = [block for _, block in BLOCKS if f"$ {command}\n" in block]
    return block.split(f"$ {command}\n")[1].split("$ embedbeam")[0].strip()


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d+ s\b", "T s", text).strip()


def without_sizes(text: str) -> str:
    """What the libraries of this machine have no say in."""
    return re.sub(r"\d+\.\d kB", "S kB", text) if text.startswith("committed") else text


@pytest.fixture
def new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where somebody begins: the shipped configs, and documents of their own."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(ROOT / "configs/demo_corpus", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMETAPI_KEY", "for-a-server-that-asks-for-none")
    return tmp_path


@pytest.fixture
def base_url() -> Iterator[str]:
    with rehearsal("--dimensions", "8") as running:
        yield running.base_url


def test_commands_do_in_their_order_what_is_shown(
    new_folder: Path, base_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but those that another engine, or a server of its own, belongs to: make engines and test_rehearsal.py run these."""
    (new_folder / "my.yaml").write_text((ROOT / "configs/local.yaml").read_text(encoding="utf-8"))
    small_chunks = ["--set", "chunking.max_tokens=64", "--set", "chunking.overlap_tokens=8"]  # enough for a sample
    to_rehearsal = ["--set", f"embedding.base_url={base_url}", *small_chunks]
    with_price = [*to_rehearsal, "--with", "budget.price_per_million_tokens=0.13"]  # its catalog has one model only
    done = set()
    for words in TYPED:
        if "--" in words or words[1] == "rehearse":
            continue
        more = with_price if words[1] == "compare" else to_rehearsal if "my.yaml" in words else []
        assert main(words[1:] + more) == 0, shlex.join(words)
        printed, done = without_times(capsys.readouterr().out), done | {words[1]}
        (line,) = [command for command in COMMANDS if shlex.split(command) == words]
        if f"$ {line}\n" not in README:
            continue
        if words[1] == "size":
            assert set(shown(line).splitlines()) <= set(printed.splitlines())
        else:
            assert without_sizes(printed) == without_sizes(without_times(shown(line)))
    assert {"run", "search", "doctor", "plan", "compare", "export", "derive", "diff", "gc", "size"} <= done
    assert (new_folder / "comparison.html").exists()
    assert (new_folder / "out/for-qdrant/LOAD.md").exists()
    parts_are_read_as_shown(capsys)
    files = {path.name for path in (new_folder / "out/demo/versions/000001").iterdir()}
    (layout,) = [block for _, block in BLOCKS if block.startswith("out/demo/\n")]
    assert set(re.findall(r"^    (\S+)", layout, re.MULTILINE)) == files


def parts_are_read_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    (script,) = [block for kind, block in BLOCKS if kind == "python"]
    exec(compile(script, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Array(Float32, shape=(256,))" in printed
    assert "wordllama-l2-256" in printed


def test_config_shown_is_complete_and_has_the_real_defaults() -> None:
    (block,) = [block for kind, block in BLOCKS if kind == "yaml"]
    tree = yaml.safe_load(block)
    assert {key for key in known_keys() if key != "documents.dataset"} <= set(keys_of(tree))
    required = {
        "dataset": tree["dataset"],
        "documents": tree["documents"],
        "embedding": {"model": tree["embedding"]["model"]},
    }
    assert parse_config(tree, "README") == parse_config(required, "README")


def keys_of(tree: dict[str, object], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in tree.items():
        keys.append(prefix + name)
        if isinstance(value, dict) and name != "profile_overrides":
            keys += keys_of(value, f"{prefix}{name}.")
    return keys


def test_every_format_of_an_export_is_in_the_table() -> None:
    (rows,) = re.findall(r"\| `--to` \|.*\n\|---.*\n((?:\|.*\n)+)", README)
    assert sorted(row.split("|")[1].strip() for row in rows.splitlines()) == sorted(FORMATS)


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    inside = [link for link in links if "://" not in link]
    assert inside
    assert [link for link in inside if not (ROOT / link).exists()] == []


def test_pictures_are_small_told_in_words_and_all_shown() -> None:
    told = {path: words for words, path in re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", README)}
    told |= dict(re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]+)"', README))
    pictures = list((ROOT / "pictures").iterdir())
    assert sorted(told) == sorted(f"pictures/{picture.name}" for picture in pictures)
    assert sum(picture.stat().st_size for picture in pictures) <= MOST_BYTES_OF_PICTURES


def test_every_exit_code_of_the_errors_is_explained() -> None:
    for kind in STOPPING_ERRORS.values():
        assert f"\n| {kind.exit_code} |" in README
