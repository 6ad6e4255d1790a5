"""The workflows of GitHub and GitLab are valid, and their steps work on this machine."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import PROJECT
from toolchain.golang import GoProgram

pytestmark = pytest.mark.ops
WORKFLOWS = PROJECT / ".github/workflows"
ACTIONLINT = GoProgram(
    binary="actionlint",
    sources=Path(__file__).with_name("actionlint"),
    version="1.7.12",
    package="github.com/rhysd/actionlint/cmd/actionlint",
    minutes=1,
)
# The condition that a pull request does not come from a fork.
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"


def _jobs(workflow: str) -> Mapping[str, Any]:
    jobs: Mapping[str, Any] = yaml.safe_load((WORKFLOWS / workflow).read_text())["jobs"]
    return jobs


def _steps(job: str) -> Mapping[str, str]:
    """Return the shell steps of a job in stacks.yml by name or id."""
    steps = _jobs("stacks.yml")[job]["steps"]
    return {step.get("name") or step["id"]: step["run"] for step in steps if "run" in step}


class _Runner:
    """Runs steps as GitHub's runner does: with bash, and with files for outputs and summaries."""

    def __init__(self, stack: CloudDeployment, target: str) -> None:
        self.folder = stack.folder
        self.output_files = {
            name: self.folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        for file in self.output_files.values():
            file.write_text("")
        gh = self.folder / "bin/gh"
        gh.parent.mkdir(exist_ok=True)
        gh.write_text('#!/bin/sh\nprintf "%s " "$@" >> calls\n')
        gh.chmod(0o755)
        (self.folder / "calls").write_text("")
        self.environment = {
            **os.environ,
            **stack.environment,
            **{name: str(file) for name, file in self.output_files.items()},
            "PATH": f"{gh.parent}:{os.environ['PATH']}",
            "STACK": stack.stack,
            "TARGET": target,
            "GITHUB_REPOSITORY": "me/images",
            "GH_TOKEN": "token",
            "PULL_REQUEST": "7",
        }

    def run(self, step: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    @property
    def summary(self) -> str:
        return self.output_files["GITHUB_STEP_SUMMARY"].read_text()


def test_the_github_workflows_are_valid() -> None:
    files = sorted(WORKFLOWS.glob("*.yml"))
    assert {file.stem for file in files} == {"test", "preview", "drift", "stacks"}
    words = [str(ACTIONLINT.build()), "-no-color", *map(str, files)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_jobs_with_secrets_do_not_run_the_code_of_a_fork() -> None:
    assert _jobs("preview.yml")["preview"]["if"] == SAME_REPOSITORY
    assert _jobs("test.yml")["real"]["if"].endswith(SAME_REPOSITORY)
    assert "if" not in _jobs("test.yml")["unit"]
    texts = {file.stem: file.read_text() for file in WORKFLOWS.glob("*.yml")}
    assert "secrets." not in texts["test"]
    assert not any("pull_request_target" in text for text in texts.values())


def test_a_pull_request_runs_the_quick_tests_and_the_main_branch_runs_all() -> None:
    steps = _jobs("test.yml")["real"]["steps"]
    runs = {step["if"]: step["run"] for step in steps if "run" in step}
    assert runs == {
        "github.event_name == 'pull_request'": "make test",
        "github.event_name == 'push'": "bash .ci/run",
    }
    assert (PROJECT / ".ci/run").read_text().splitlines()[-1] == "make test-all"


def test_the_matrix_has_the_stack_files(stack: CloudDeployment) -> None:
    runner = _Runner(stack, "preview")
    assert runner.run(_steps("find")["find"]).returncode == 0
    name, _, stacks = runner.output_files["GITHUB_OUTPUT"].read_text().strip().partition("=")
    assert (name, json.loads(stacks)) == ("stacks", [stack.stack])


def test_the_preview_becomes_a_comment_and_a_summary(stack: CloudDeployment) -> None:
    runner, steps = _Runner(stack, "preview"), _steps("stack")
    assert [*steps] == ["Report", "Comment"]
    stack.configure(registry={"log_level": "error"})
    try:
        result = runner.run(steps["Report"])
    finally:
        stack.configure(registry={"log_level": "warn"})
    assert result.returncode == 0, result.stderr
    report = (stack.folder / "report.md").read_text()
    assert report.startswith(f"<!-- oss-registry: {stack.stack} -->\n### `{stack.stack}`: 1 to ")
    assert "+REGISTRY_LOG_LEVEL=error" in report
    assert report == runner.summary == result.stdout
    assert runner.run(steps["Comment"]).returncode == 0
    calls = (stack.folder / "calls").read_text()
    assert "--method POST repos/me/images/issues/7/comments --field body=@report.md" in calls


def test_a_failed_preview_fails_the_job_and_becomes_a_comment(stack: CloudDeployment) -> None:
    runner, steps = _Runner(stack, "preview"), _steps("stack")
    stack.configure(registry={"log_level": "loud"})
    try:
        result = runner.run(steps["Report"])
    finally:
        stack.configure(registry={"log_level": "warn"})
    assert result.returncode != 0
    assert "oss-registry:registry.log_level: " in runner.summary
    assert runner.run(steps["Comment"]).returncode == 0
    assert "--method POST" in (stack.folder / "calls").read_text()


def test_drift_fails_the_job_and_is_in_the_summary(stack: CloudDeployment) -> None:
    runner, steps = _Runner(stack, "drift"), _steps("stack")
    result = runner.run(steps["Report"])
    assert (result.returncode, "no change" in runner.summary) == (0, True), result.stderr
    bucket = stack.emulator.oss.buckets[stack.bucket]
    bucket.acl = "public-read"
    try:
        result = runner.run(steps["Report"])
    finally:
        bucket.acl = "private"
    assert result.returncode != 0
    assert "| 🟡 **change** | bucket acl `acl` |" in runner.summary


def test_the_gitlab_job_reports_on_all_stacks_before_it_fails(stack: CloudDeployment) -> None:
    job = yaml.safe_load((PROJECT / ".gitlab-ci.yml").read_text())["preview"]
    script = "\n".join(job["script"])
    assert "CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in job["rules"][0]["if"]
    runner = _Runner(stack, "")
    del runner.environment["STACK"]
    result = runner.run(script)
    assert result.returncode == 0, result.stderr
    report = stack.folder / job["artifacts"]["paths"][0] / f"{stack.stack}.md"
    assert "no change" in report.read_text()
    report.unlink()
    report.parent.rmdir()
    (stack.folder / "stacks/Pulumi.a.yaml").write_text("config: {registry: {port: 0}}")
    try:
        result = runner.run(script)
    finally:
        (stack.folder / "stacks/Pulumi.a.yaml").unlink()
    assert result.returncode != 0
    assert "oss-registry:registry.port: " in (report.parent / "a.md").read_text()
    assert "no change" in report.read_text()
