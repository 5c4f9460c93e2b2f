import threading
from pathlib import Path

import pytest

from pipeline.rehearsal import rehearsal_vectors
from tests.support.rehearsal import rehearsal
from transforms.clients.base import Answer
from transforms.clients.http import EndpointSettings
from transforms.clients.local import MODEL_NAME, LocalClient
from transforms.clients.open_client import any_client_open, close_clients, open_client, stop_clients
from transforms.core.pacing import Quota
from transforms.core.requests import RequestLimits
from transforms.errors import ConfigError, ProviderRefused, RunInterrupted


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def settings(base_url: str = "http://127.0.0.1:1/v1", **changes: object) -> EndpointSettings:
    values: dict[str, object] = {"base_url": base_url, "api_key_env": "", "profile": "openai"} | changes
    return EndpointSettings(**values)  # type: ignore[arg-type]


def test_the_same_arguments_give_the_same_client() -> None:
    first = open_client(settings(), Quota(60), RequestLimits(), run_id="one", lanes=1)
    assert open_client(settings(), Quota(60), RequestLimits(), run_id="one", lanes=1) is first
    other = open_client(settings(), Quota(60), RequestLimits(), run_id="two", lanes=2)
    assert other is not first
    close_clients("one", 1)
    again = open_client(settings(), Quota(60), RequestLimits(), run_id="one", lanes=1)
    assert again is not first
    close_clients("one", 1)
    close_clients("two", 1)


def test_the_quota_file_is_gone_after_the_run(tmp_path: Path) -> None:
    open_client(settings(), Quota(60), RequestLimits(), run_id="one", lanes=1)
    assert len(list(tmp_path.glob("*/quota-*"))) == 1
    close_clients("one", 1)
    assert list(tmp_path.glob("*/quota-*")) == []


def test_the_local_model_needs_no_endpoint() -> None:
    local = EndpointSettings(provider="local", base_url="", model=MODEL_NAME, api_key_env="")
    assert isinstance(open_client(local, Quota(), RequestLimits(), run_id="local", lanes=1), LocalClient)
    close_clients("local", 1)


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        open_client(settings(api_key_env="NO_SUCH_KEY"), Quota(), RequestLimits(), run_id="key", lanes=1)


def test_a_storm_loses_no_text_and_lets_no_wrong_vector_through() -> None:
    kinds = ("drop", "500", "502-html", "truncated", "short-answer", "nan", "reorder", "no-index", "200-error")
    options = [option for kind in kinds for option in ("--fault", f"{kind}=0.04")]
    texts = [f"text {number}" for number in range(4000)]
    seen: dict[int, int] = {}
    wrong: list[int] = []
    lock = threading.Lock()
    with rehearsal("--dimensions", "32", *options) as running:
        client = open_client(
            settings(running.base_url),
            Quota(concurrent_requests=8),
            RequestLimits(max_inputs=64),
            run_id="storm",
            lanes=1,
        )

        def keeper(start: int) -> "object":
            def keep(answer: Answer) -> None:
                positions = [start + position for position in answer.positions]
                expected = rehearsal_vectors([texts[position] for position in positions], 32)
                with lock:
                    wrong.extend(
                        p for p, ok in zip(positions, (answer.vectors == expected).all(axis=1), strict=True) if not ok
                    )
                    for position in positions:
                        seen[position] = seen.get(position, 0) + 1

            return keep

        futures = [
            client.submit(texts[start : start + 64], [3] * len(texts[start : start + 64]), keeper(start))  # type: ignore[arg-type]
            for start in range(0, len(texts), 64)
        ]
        refusals = [refusal for future in futures for refusal in future.result(60)]
        close_clients("storm", 5)
        statistics = running.statistics()
    assert refusals == []
    assert wrong == []
    assert seen == dict.fromkeys(range(4000), 1)
    assert len(statistics["faults"]) == len(kinds)


def test_a_wrong_key_ends_everything_after_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG_KEY", "sk-wrong")
    with rehearsal("--api-key", "sk-right") as running:
        client = open_client(
            settings(running.base_url, api_key_env="WRONG_KEY"), Quota(), RequestLimits(), run_id="wrong", lanes=1
        )
        futures = [client.submit(["a"], [1], lambda answer: None) for _ in range(50)]
        for future in futures:
            with pytest.raises(ProviderRefused, match="the key in WRONG_KEY is not accepted"):
                future.result(10)
        close_clients("wrong", 1)
        assert running.statistics()["requests"] == 1


def test_all_clients_of_a_process_can_be_stopped_at_once() -> None:
    client = open_client(settings(), Quota(), RequestLimits(), run_id="stop", lanes=2)
    assert any_client_open()
    stop_clients("somebody pressed a key")
    with pytest.raises(RunInterrupted, match="somebody pressed a key"):
        client.prove()
    close_clients("stop", 1)
    assert not any_client_open()
