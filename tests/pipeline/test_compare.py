"""``embedbeam compare``: a sample by hash, paid once, under the same budget, and the figures of a plain comparison."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.projects import Outcome, Project, prose
from tests.support.rehearsal import rehearsal
from transforms.core.agreement import overlaps, rank_biased_overlap, share_of

A, B = "text-embedding-3-small", "text-embedding-3-large"


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path, capsys)
    monkeypatch.setenv("COMETAPI_KEY", "test-key")
    made.write({f"{seed}.txt": prose(seed, 300) for seed in range(12)})
    return made


def use_local_model(project: Project) -> None:
    project.config["embedding"] = {"provider": "local", "dimensions": 256}


def use(project: Project, base_url: str) -> None:
    project.config["embedding"]["base_url"] = base_url
    project.config["budget"] = {"price_per_million_tokens": 1.0}


def compare(project: Project, model: str, *options: str) -> Outcome:
    return project.command("compare", project.config_file(), "--model", model, "--json", *options)


def compare_local(project: Project, *options: str) -> dict[str, Any]:
    found = compare(project, "wordllama-l2-256", "--dimensions", "64", *options)
    assert found.code == 0, found.err
    return found.summary


def test_figures_are_those_of_comparing_everything_with_everything(project: Project) -> None:
    use_local_model(project)
    assert project.run().code == 0
    found = compare_local(project, "--sample", "1")
    vectors = project.vectors().astype(np.float64)
    shorter = vectors[:, :64] / np.linalg.norm(vectors[:, :64], axis=1, keepdims=True)
    nearest = []
    for one in (vectors, shorter):
        scores = one @ one.T
        np.fill_diagonal(scores, -9)
        nearest.append(np.argsort(-scores, axis=1)[:, :50])
    assert found["texts"] == len(vectors)
    assert found["overlap"]["mean"] == pytest.approx(overlaps(nearest[0], nearest[1], 10).mean(), abs=2e-3)
    assert found["same_nearest"] == pytest.approx((nearest[0][:, 0] == nearest[1][:, 0]).mean(), abs=2e-2)
    assert found["chance"] == pytest.approx(10 / (len(vectors) - 1))
    assert 0 < found["rank_biased_overlap"] < 1


def test_a_sample_is_chosen_by_hash_and_grows_into_a_larger_one(project: Project) -> None:
    use_local_model(project)
    assert project.run().code == 0
    hashes = project.rows().column("text_hash").to_pylist()
    smaller = compare_local(project, "--sample", "0.4")
    assert smaller["texts"] == sum(int(one[:8], 16) < 0.4 * 2**32 for one in hashes)
    larger = compare_local(project, "--sample", "0.8")
    assert larger["texts"] == sum(int(one[:8], 16) < 0.8 * 2**32 for one in hashes)
    assert larger["models"][0]["tokens"] == pytest.approx(
        sum(project.rows().column("token_count").to_pylist()), rel=0.1
    )


def test_the_committed_dataset_is_not_touched(project: Project) -> None:
    use_local_model(project)
    assert project.run().code == 0
    before = (project.manifest(), {path for path in project.files() if not path.startswith("_journal")})
    compare_local(project, "--sample", "0.5")
    after = {path for path in project.files() if not path.startswith(("_compare", "_journal"))}
    assert (project.manifest(), after) == before
    assert project.plan().summary["texts_to_embed"] == 0


def test_nothing_is_paid_twice_for_a_sample(project: Project) -> None:
    with rehearsal() as server:
        use(project, server.base_url)
        first = compare(project, B, "--dimensions", "32", "--sample", "0.5")
        assert first.code == 0, first.err
        asked = server.statistics()["requests"]
        assert compare(project, B, "--dimensions", "32", "--sample", "0.5").code == 0
        assert server.statistics()["requests"] == asked
        bill = project.plan().summary
        assert bill["texts_in_journal"] == first.summary["texts"]
        assert 0 < bill["texts_to_embed"] < bill["texts"]
        assert project.run().code == 0
        assert project.run().summary["requests"] == 0
        again = compare(project, B, "--dimensions", "32", "--sample", "0.5")
        assert again.summary["overlap"] == pytest.approx(first.summary["overlap"])


def test_a_whole_corpus_as_sample_leaves_nothing_to_pay(project: Project) -> None:
    with rehearsal() as server:
        use(project, server.base_url)
        assert compare(project, B, "--sample", "1").code == 0
        requests = server.statistics()["requests"]
        ran = project.run()
        assert (ran.code, ran.summary["requests"]) == (0, 0)
        assert server.statistics()["requests"] == requests


def test_the_bill_is_said_first_and_held_against_the_budget(project: Project) -> None:
    with rehearsal() as server:
        use(project, server.base_url)
        project.config["budget"]["max_tokens"] = 10
        found = compare(project, B, "--sample", "0.5")
        assert (found.code, server.statistics()["requests"]) == (3, 0)
        assert "more than budget.max_tokens allows (10)" in found.err
        assert re.search(r"bill +[\d,]+ tokens in", found.err)


def test_a_dry_run_says_the_bills_and_calls_nobody(project: Project) -> None:
    with rehearsal() as server:
        use(project, server.base_url)
        found = compare(project, B, "--sample", "0.5", "--dry-run")
        assert (found.code, server.statistics()["requests"]) == (0, 0)
        assert found.summary["a"]["texts_to_embed"] == found.summary["b"]["texts_to_embed"] > 0
        assert found.summary["b"]["price_per_million_tokens"] is None


def test_the_other_model_has_settings_of_its_own(project: Project) -> None:
    with rehearsal() as server:
        use(project, server.base_url)
        found = compare(project, B, "--sample", "0.5", "--with", "budget.price_per_million_tokens=7")
        first, other = found.summary["models"]
        assert first["cost_usd"] == pytest.approx(first["tokens"] / 1e6)
        assert other["cost_usd"] == pytest.approx(other["tokens"] * 7 / 1e6)
        assert (first["model"], other["model"]) == (A, B)


def test_the_page_needs_nothing_but_itself(project: Project) -> None:
    use_local_model(project)
    project.write({"hostile.txt": "<script>alert(1)</script> " + prose(99, 300)})
    assert project.run().code == 0
    path = project.folder / "page.html"
    compare_local(project, "--sample", "1", "--html", str(path))
    page = path.read_text()
    assert "overlap@10, 95 % interval" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="http', page)


def test_a_person_reads_it_in_a_terminal(project: Project) -> None:
    use_local_model(project)
    assert project.run().code == 0
    found = project.command(
        *("compare", project.config_file(), "--model", "wordllama-l2-256", "--dimensions", "64", "--sample", "1")
    )
    lines = found.out.splitlines()
    assert "compared  wordllama-l2-256, 256 dimensions (A) with wordllama-l2-256, 64 dimensions (B)" in lines
    assert any(line.startswith("overlap@10    0.") for line in lines)
    assert all(len(line) <= 100 for line in lines[lines.index("") :])


def test_a_sample_too_small_to_say_anything_is_refused(project: Project) -> None:
    use_local_model(project)
    assert project.run().code == 0
    found = compare(project, "wordllama-l2-256", "--dimensions", "64", "--sample", "0.02")
    assert found.code == 3
    assert "too few to say anything; raise --sample" in found.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", A, "--dimensions", "16"], "both models are text-embedding-3-small"),
        (["--model", B, "--sample", "0"], "must be above 0 and at most 1"),
        (["--model", B, "--sample", "much"], "must be above 0 and at most 1"),
        (["--model", B, "--with", "embedding.modell=x"], "did you mean embedding.model"),
    ],
)
def test_wrong_usage_says_what_is_wrong(project: Project, options: list[str], words: str) -> None:
    use(project, "http://127.0.0.1:9/v1")
    found = project.command("compare", project.config_file(), *options)
    assert (found.code, words in found.err) == (2, True)


def test_rank_biased_overlap_is_the_published_one() -> None:
    assert rank_biased_overlap([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert rank_biased_overlap([1, 2, 3], [4, 5, 6]) == 0
    # By hand for p = 0.9: agreements 0, 1, 1 at depths 1 to 3.
    assert rank_biased_overlap([1, 2, 3], [2, 1, 3]) == pytest.approx(0.1 / 0.9 * (0.9**2 + 0.9**3) + 0.9**3)


def test_an_interval_is_never_empty() -> None:
    found = share_of(np.ones(100))
    assert (found.mean, found.high) == (1, pytest.approx(1))
    assert found.low == pytest.approx(0.963, abs=1e-3)
    half = share_of(np.array([0.0, 1.0] * 50))
    assert (half.low, half.high) == (pytest.approx(0.404, abs=1e-3), pytest.approx(0.596, abs=1e-3))
