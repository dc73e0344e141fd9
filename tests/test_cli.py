"""Tests of the command line: verbs, help, progress, and errors as sentences with exit codes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raymmfl import __version__, history
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.configfile import dump, fields

Make = Callable[..., Config]
Expected = Callable[[Config], dict[str, str]]
Digests = Callable[[Path], dict[str, str]]
PROGRAM = Path(sys.executable).with_name("raymmfl")
HEAVY = ("torch", "ray", "mlflow", "rasterio", "matplotlib")


def call(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def refused(*arguments: str | Path, folder: Path, code: int = 2) -> str:
    """Call what must be refused, with one message and nothing made; the message."""
    before = sorted(folder.rglob("*"))
    done = call(*arguments, folder=folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("raymmfl: ") == 1
    assert done.stderr.startswith("raymmfl: ")
    assert "bug of ours" not in done.stderr
    assert sorted(folder.rglob("*")) == before
    return done.stderr


@pytest.fixture
def config(tiny: Make) -> Config:
    return tiny(rounds=2, resources={"runtime": "serial"})


@pytest.fixture
def folder(tmp_path: Path, config: Config) -> Path:
    """A folder with a configuration that runs without Ray and MLflow."""
    (tmp_path / "tiny.yaml").write_text(dump(config))
    return tmp_path


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["run", "--help"], ["--version"], ["resume", "-h"], ["archive"]]
)
def test_help_needs_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom raymmfl.cli import main\n"
        "try:\n    main()\n"
        f"finally:\n    print('loaded', [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert len(done.stdout.splitlines()) > 1


def test_a_wrong_key_is_found_before_anything_heavy_is_loaded(folder: Path) -> None:
    code = (
        "import sys\nfrom raymmfl.cli import _main\n"
        "status = _main(sys.argv[1:], False)\n"
        f"print(status, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "tiny.yaml", "train.lrr=1"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "2 []\n"
    for part in ("train.lrr", "unknown key", "did you mean 'lr'", "batch_size"):
        assert part in done.stderr


def test_help_names_every_key_with_its_sentence(tmp_path: Path) -> None:
    shown = call("run", "--help", folder=tmp_path).stdout
    words = " ".join(shown.split())
    for each in fields():
        assert re.search(rf"^\s*{re.escape(each.key)} ", shown, re.MULTILINE), each.key
        assert " ".join(each.sentence.split()) in words, each.key
    assert "raymmfl run configs/demo.yaml" in shown


def test_overview_version_and_lists(tmp_path: Path) -> None:
    overview = call("--help", folder=tmp_path).stdout
    for verb in ("run", "resume", "list", "archive"):
        assert re.search(rf"^  {verb} ", overview, re.MULTILINE)
    assert call("--version", folder=tmp_path).stdout == f"raymmfl {__version__}\n"
    everything = call("list", folder=tmp_path).stdout
    assert [line for line in everything.splitlines() if not line.startswith(" ")] == [
        "algorithms:",
        "backbones:",
        "partitions:",
        "archives:",
    ]
    for name in ("mf+fw+mim", "centralised", "resnet18", "dirichlet", "terramesh", "synthetic"):
        assert re.search(rf"^  {re.escape(name)} ", everything, re.MULTILINE)
    partitions = call("list", "partitions", folder=tmp_path).stdout
    assert partitions.startswith("partitions:\n  region")
    assert partitions in everything


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["rnu"], ["'rnu'", "did you mean 'run'", "resume, tune, compare, sync, list"]),
        (["archive", "pakc"], ["'pakc'", "did you mean 'pack'", "synth"]),
        (["run", "nothing.yaml"], ["nothing.yaml", "no such file"]),
        (["run", "tiny.yaml", "train.lr=quick"], ["train.lr", '"quick"', "number"]),
        (["run", "tiny.yaml", "rounds=0"], ["rounds", "0", "greater than or equal to 1"]),
        (["run", "tiny.yaml", "algorithm=mf+fv"], ["algorithm", "did you mean 'mf+fw'"]),
        (["run", "tiny.yaml", "rounds"], ["'rounds'", "key=value"]),
        (["run", "tiny.yaml", "archive.path=gone"], ["gone", "raymmfl archive pack"]),
        (["run", "tiny.yaml", "clients.regions=[Mars]"], ["'Mars'", "Austria, Finland"]),
        (["run", "tiny.yaml", "--out", "tiny.yaml"], ["tiny.yaml exists already", "resume"]),
        (
            ["run", "tiny.yaml", "tracking.mlflow=true", "tracking.uri=./mlruns"],
            ["./mlruns", "sqlite:///mlflow.db"],
        ),
        (["resume", "gone"], ["gone is no run folder"]),
        (["resume", "."], ["is no run folder", "config.yaml"]),
        (["archive", "pack", ".", "--out", "a", "--layout", "moon"], ["'moon'", "terramesh"]),
        (["archive", "pack", "gone", "--out", "a"], ["gone: no such folder"]),
        (["archive", "pack", ".", "--out", "a"], ["S1"]),
        (["archive", "info", "gone"], ["gone", "raymmfl archive pack"]),
        (["archive", "verify", "gone"], ["gone"]),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: list[str], parts: list[str], folder: Path
) -> None:
    message = refused(*arguments, folder=folder)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("arguments", [["run"], ["run", "tiny.yaml", "--nope"], ["list", "moons"]])
def test_wrong_flags(arguments: list[str], folder: Path) -> None:
    done = call(*arguments, folder=folder)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"raymmfl {arguments[0]}" in done.stderr
    assert done.stdout == ""


def test_overrides_may_stand_anywhere(folder: Path) -> None:
    words = ["tiny.yaml", "rounds=0", "--out", "run", "train.epochs=0"]
    message = refused("run", *words, folder=folder)
    assert "rounds: 0" in message and "train.epochs: 0" in message


def test_more_gpus_than_exist(folder: Path) -> None:
    options = ["resources.runtime=ray", "resources.gpus=0.25", "--out", "run"]
    message = refused("run", "tiny.yaml", *options, folder=folder, code=3)
    for part in ("resources.gpus=0.25", "0 GPUs", "--address"):
        assert part in message


def test_archive_verbs(tmp_path: Path) -> None:
    made = call("archive", "synth", "tiles", "--regions", "Austria", "Finland", "--tiles", "1",
                "--size", "192", folder=tmp_path)  # fmt: skip
    assert (made.returncode, made.stdout) == (0, "wrote tiles\n")
    packed = call("archive", "pack", "tiles", "--out", "packed", "--patch", "16", folder=tmp_path)
    assert packed.returncode == 0, packed.stderr
    info = call("archive", "info", "packed", folder=tmp_path)
    assert packed.stdout == info.stdout
    for word in ("S1", "S2", "train", "val", "test", "synthetic"):
        assert word in info.stdout
    sound = call("archive", "verify", "packed", folder=tmp_path)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "as it was packed" in sound.stdout

    for taken in (["synth", "tiles"], ["pack", "tiles", "--out", "packed"]):
        assert "exists already" in refused("archive", *taken, folder=tmp_path)
    file = tmp_path / "packed" / "S2.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "S2.arrow" in refused("archive", "verify", "packed", folder=tmp_path)


LINE = re.compile(
    r"round (\d)/2  clients 4/4  loss \d\.\d{3}  val mAP 0\.\d{3}  macro-F1 0\.\d{3}  "
    r"up \d+\.\d MB  down \d+\.\d MB  \d+\.\d s  left \d+:\d\d"
)


def test_a_run_from_end_to_end_and_what_may_follow_it(
    folder: Path, config: Config, expected: Expected, digests: Digests, store: Path
) -> None:
    options = [f"tracking.uri=sqlite:///{store}", "tracking.mlflow=true"]
    done = call("run", "tiny.yaml", *options, "--out", "run", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    rounds = [found for line in done.stdout.splitlines() if (found := LINE.fullmatch(line))]
    assert [found.group(1) for found in rounds] == ["1", "2"]
    for part in (
        "Austria/S1",
        "trunks      weights",
        "on the test split",
        "mf+fw+mim          global",
        "no-image guess",
        "run folder: run",
        f"mlflow ui --backend-store-uri sqlite:///{store}",
    ):
        assert part in done.stdout
    wanted = expected(config)
    assert digests(folder / "run")["model.safetensors"] == wanted["model.safetensors"]
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["model_sha256"] == wanted["model.safetensors"]
    for name in ("config.yaml", "environment.json", "ledger.parquet", "figures", "mlflow.json"):
        assert (folder / "run" / name).exists()

    files = {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*")}
    again = call("resume", "run", folder=folder)
    assert (again.returncode, again.stdout) == (0, "run is finished; nothing to resume\n")
    assert {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*")} == files
    assert "run exists already" in refused("run", "tiny.yaml", "--out", "run", folder=folder)

    # as after a kill between the result and MLflow's last word: resume repeats only the latter
    note = json.loads((folder / "run" / "mlflow.json").read_text())
    assert note["status"] == "FINISHED"
    history.write_json(folder / "run" / "mlflow.json", note | {"status": "RUNNING"})
    last = call("resume", "run", folder=folder)
    assert last.returncode == 0, last.stderr
    assert not any(LINE.fullmatch(line) for line in last.stdout.splitlines())
    after = json.loads((folder / "run" / "mlflow.json").read_text())
    assert after == note
    assert json.loads((folder / "run" / "result.json").read_text()) == result


def test_a_run_without_a_whole_checkpoint(folder: Path, config: Config) -> None:
    (folder / "run" / "checkpoints" / "00001").mkdir(parents=True)
    (folder / "run" / "config.yaml").write_text(dump(config))
    message = refused("resume", "run", folder=folder)
    for part in ("no whole checkpoint", "00001", "raymmfl run run/config.yaml"):
        assert part in message


def test_an_output_that_is_closed(folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM} run --help | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False).returncode:
        pytest.skip("only an administrator can mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_ends_the_run_and_keeps_what_was_whole(folder: Path, small_disk: Path) -> None:
    """There is room for a checkpoint or two, not for three."""
    from raymmfl.checkpoint import Checkpoints

    (small_disk / "filler").write_bytes(bytes(2 * 2**20))
    options = ["rounds=3", "--out", str(small_disk / "run")]
    done = call("run", "tiny.yaml", *options, folder=folder)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("raymmfl: ")
    assert "Traceback" not in done.stderr
    assert "bug of ours" not in done.stderr
    assert str(small_disk / "run") in done.stderr
    checkpoint, warnings = Checkpoints(small_disk / "run" / "checkpoints").load()
    assert checkpoint is not None
    assert warnings == []


def test_a_folder_that_cannot_be_made(folder: Path, archive: Archive) -> None:
    message = refused("run", "tiny.yaml", "--out", "tiny.yaml/run", folder=folder, code=3)
    assert "tiny.yaml" in message
