"""The environment file: versions and hardware on which equal bits depend."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("raymmfl", "torch", "numpy", "ray", "mlflow", "pyarrow", "rasterio", "safetensors")


def describe(threads: int) -> dict[str, Any]:
    """What this machine and its packages are; nothing that names a person or host."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads_per_client": threads,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Sentences on what changed of the things equal bits depend on."""
    pairs = [
        (name, before.get(name), now.get(name))
        for name in ("system", "processor", "threads_per_client")
    ]
    for name in ("torch", "numpy", "raymmfl"):
        pairs.append(
            (name, before.get("packages", {}).get(name), now.get("packages", {}).get(name))
        )
    return [
        f"{name} was {old} when the run began and is {new} now: bits may differ"
        for name, old, new in pairs
        if old != new
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        facts = dict.fromkeys(("model name", "cpu family", "model", "stepping"), "")
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in facts:
                facts[name.strip()] = value.strip()
        if facts["model name"]:
            family = f"family {facts['cpu family']} model {facts['model']}.{facts['stepping']}"
            return f"{facts['model name']} ({family})"
    except OSError:
        pass
    return platform.processor() or platform.machine()
