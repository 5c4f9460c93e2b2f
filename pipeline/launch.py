"""What a person is told of a run that is left alone: what it is called, and where to watch it."""

from collections.abc import Mapping
from typing import Any

_CONSOLE = "https://console.cloud.google.com/dataflow/jobs"


def launched_run(result: Any, told: Mapping[str, Any], dataset: str, run_id: str) -> dict[str, Any]:
    """Describe a run that has been submitted.

    Args:
        result: what the engine returned; only Dataflow's says what its job is called.
        told: all options of Beam.
    """
    return {
        "launched": True,
        "dataset": dataset,
        "run_id": run_id,
        "runner": str(told.get("runner")),
        "job": str(result.job_id()) if getattr(result, "has_job", False) else "",
        "template": told.get("template_location") or "",
        "project": told.get("project") or "",
        "region": told.get("region") or "",
    }


def launch_lines(launched: Mapping[str, Any]) -> list[str]:
    """Say in a few lines what was submitted and how to follow it."""
    if launched["template"]:
        lines = [f"launched   the job graph is at {launched['template']}; Dataflow makes the job out of it"]
    else:
        name = f" job {launched['job']}" if launched["job"] else ""
        lines = [f"launched   {launched['runner']}{name}; nobody waits for it here"]
    if launched["job"]:
        where = f"--project={launched['project']} --region={launched['region']}"
        lines += [
            f"watch      {_CONSOLE}/{launched['region']}/{launched['job']}?project={launched['project']}",
            f"           gcloud dataflow jobs describe {launched['job']} {where}",
        ]
    return [
        *lines,
        f"result     embedbeam inspect {launched['dataset']}   shows the version once the job has committed it",
    ]
