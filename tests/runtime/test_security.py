"""Tests of what Ray opens: its token stays on, its dashboard off, nothing listens for everyone."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

import raymmfl
from raymmfl.runtime import cluster

SOURCES = sorted(Path(raymmfl.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_turns_the_token_off_or_listens_for_everyone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "0.0.0.0" not in node.value
            assert node.value != "disabled"
        if isinstance(node, ast.keyword):
            assert node.arg not in ("dashboard_host", "dashboard_port", "_node_ip_address")
            if node.arg == "include_dashboard":
                assert "True" not in ast.unparse(node.value)


def test_how_ray_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(options))
    assert cluster.connect(None) is True
    assert calls[0]["include_dashboard"] is False
    assert calls[0]["address"] is None
    assert cluster.connect("auto") is False
    assert calls[1]["address"] == "auto"
    assert not [options for options in calls if "_system_config" in options]
    assert os.environ.get("RAY_AUTH_MODE", "token") == "token"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.chaos
@pytest.mark.ray
def test_a_stranger_without_the_token_is_refused(ray_cluster: None, tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    code = (
        "import sys, ray\n"
        "try:\n"
        "    ray.init(sys.argv[1], log_to_driver=False)\n"
        "except Exception as error:\n"
        "    print('refused', type(error).__name__)\n"
        "else:\n"
        "    print('let in')"
    )
    plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    owner = {**plain, "RAY_AUTH_MODE": "token"}
    strange = {**owner, "HOME": str(tmp_path), "RAY_AUTH_TOKEN": "x" * 64}
    for environment, answer in ((strange, "refused"), (owner, "let in")):
        done = subprocess.run(
            [sys.executable, "-c", code, address],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.startswith(answer), done.stdout + done.stderr


@pytest.mark.chaos
def test_ray_imported_before_raymmfl_still_starts(tmp_path: Path) -> None:
    """Ray reads its environment on import; what raymmfl would set later must not confuse it."""
    code = (
        "import ray\nfrom raymmfl.runtime.cluster import connect\n"
        "assert connect(None)\nprint(ray.cluster_resources()['CPU'] > 0)\nray.shutdown()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr
