"""Maps of a large scene: time, peak memory, and how windows compare with the whole image.

    python -m benchmarks.maps [FOLDER]

A synthetic tile of 1,000 x 1,000 pixels (no satellite took it) is repeated to 4,000 x 4,000, in
three GeoTIFFs. Networks are trained on the tile for some dozen steps, so that their scores are no
noise. The large map is drawn in a process of its own, whose peak memory the kernel counts; the
comparison with the whole image is done where that fits into memory.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from raymmfl.archive.rasters.geotiff import environment, read_raster, write_raster
from raymmfl.archive.rasters.mosaic import open_mosaic
from raymmfl.archive.synthetic.signatures import COVERS
from raymmfl.archive.synthetic.tiles import synthesise
from raymmfl.learning.losses import pixel_loss
from raymmfl.models.export import (
    MODEL_FILE,
    ColumnDescription,
    Description,
    SensorDescription,
    Trained,
    load,
)
from raymmfl.models.multimodal import build
from raymmfl.prediction.inputs import Inputs
from raymmfl.prediction.pixels import choose_margin, score
from raymmfl.prediction.windows import Box, tile

TILE = 1000
TIMES = 4
CROP, BATCH, RATE = 64, 8, 2e-3
STEPS = {"resnet_small": 150, "resnet18": 60, "resnet50": 40}
COMPARED = {"resnet_small": 1000, "resnet18": 768, "resnet50": 768}
SIDE = 256
FILES = {
    "S1": (("S1", 2, "float32"),),
    "S2": (("S2_10m", 4, "uint16"), ("S2_20m", 6, "uint16")),
}
COLUMNS = {
    "S1": (ColumnDescription("10m", ("VV", "VH"), CROP, 10.0),),
    "S2": (
        ColumnDescription("10m", ("B02", "B03", "B04", "B08"), CROP, 10.0),
        ColumnDescription("20m", ("B05", "B06", "B07", "B8A", "B11", "B12"), CROP // 2, 20.0),
    ),
}


def main() -> None:
    """Print the measurements."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        small = make_tile(folder)
        for backbone in STEPS:
            run = folder / backbone
            if not (run / MODEL_FILE).exists():
                train(run, backbone, small)
            compare(load(run), small)
        large = repeat(small, folder / "large")
        for backbone in ("resnet_small", "resnet18"):
            measure(folder / backbone, large, folder / f"{backbone}.tif")


def make_tile(folder: Path) -> dict[str, list[Path]]:
    """The rasters of the tile, per sensor; those of its classes lie beside them."""
    source = folder / "tile"
    if not source.exists():
        synthesise(source, seed=0, regions=["Austria"], tiles=1, size=TILE)
    return {
        sensor: [source / name / "Austria_1.tif" for name, *_ in files]
        for sensor, files in FILES.items()
    }


def repeat(small: dict[str, list[Path]], out: Path) -> dict[str, list[Path]]:
    """The tile side by side and below itself."""
    out.mkdir(exist_ok=True)
    found: dict[str, list[Path]] = {}
    with environment():
        for sensor, files in FILES.items():
            for path, (name, bands, dtype) in zip(small[sensor], files, strict=True):
                raster = read_raster(path, bands=bands, dtype=dtype)
                found.setdefault(sensor, []).append(out / f"{name}.tif")
                write_raster(
                    out / f"{name}.tif",
                    np.tile(raster.data_BHW, (1, TIMES, TIMES)),
                    epsg=raster.crs.to_epsg(),
                    transform=raster.transform[:6],
                )
    return found


def train(run: Path, backbone: str, small: dict[str, list[Path]]) -> None:
    """A pixel classifier after some steps on crops of the tile, as a run would leave it."""
    sensors = {}
    for sensor, paths in small.items():
        rasters = [
            read_raster(path, bands=bands, dtype=dtype).data_BHW
            for path, (_, bands, dtype) in zip(paths, FILES[sensor], strict=True)
        ]
        sensors[sensor] = SensorDescription(
            tuple(band for column in COLUMNS[sensor] for band in column.bands),
            tuple(float(band.mean()) for raster in rasters for band in raster),
            tuple(float(band.std()) for raster in rasters for band in raster),
            "dB" if sensor == "S1" else "reflectance x 10000",
            COLUMNS[sensor],
        )
    description = Description(
        "pixels", "centralised", backbone, "batch", None, None, False, tuple(COVERS),
        "bilinear", CROP, sensors,
    )  # fmt: skip
    net = build(
        {name: len(each.bands) for name, each in sensors.items()}, len(COVERS), backbone,
        task="pixels",
    )  # fmt: skip
    truth_path = small["S1"][0].parents[1] / "LULC" / "Austria_1.tif"
    truth = read_raster(truth_path, bands=1, dtype="uint8").data_BHW[0].astype(np.int64) - 1
    images = {name: whole(description, name, small, TILE) for name in sensors}
    random = np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for step in range(STEPS[backbone]):
        corners = random.integers(0, TILE - CROP, (BATCH, 2))
        sensor = ("S1", "S2")[step % 2]
        crops = [images[sensor][0, :, y : y + CROP, x : x + CROP] for y, x in corners]
        masks = [truth[y : y + CROP, x : x + CROP] for y, x in corners]
        logits = net.answer(sensor, torch.stack(crops))[1]
        loss = pixel_loss(logits, torch.from_numpy(np.stack(masks)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    run.mkdir()
    (run / MODEL_FILE).write_bytes(save(net.state_dict(), description.metadata()))


def whole(
    description: Description, sensor: str, rasters: dict[str, list[Path]], size: int
) -> Tensor:
    """One sensor's image of the top-left part, (1, C, size, size)."""
    bands = {name: each.bands for name, each in description.sensors.items()}
    with open_mosaic({sensor: rasters[sensor]}, bands) as mosaic:
        return Inputs(mosaic, description).window(sensor, Box(0, 0, size, size)).bands


def compare(trained: Trained, small: dict[str, list[Path]]) -> None:
    """Windows against the whole image, for margins up to the exact one."""
    net, description = trained.net, trained.description
    size = COMPARED[description.backbone]
    with torch.inference_mode():
        expected = net({name: whole(description, name, small, size) for name in small})[0]
    exact, default = choose_margin(net, "exact"), choose_margin(net, "auto")
    _say(f"{description.backbone}: exact margin {exact}, default {default}, {size}x{size} pixels")
    bands = {name: each.bands for name, each in description.sensors.items()}
    with open_mosaic(small, bands) as mosaic:
        inputs = Inputs(mosaic, description)
        for around in sorted({default // 4, default // 2, default, exact}):
            found = torch.empty_like(expected)
            for window in tile(size, size, SIDE, around):
                rows, columns = window.core.inside(Box(0, 0, size, size))
                found[:, rows, columns] = score(net, inputs, window)[0]
            equal = (found.argmax(0) == expected.argmax(0)).float().mean()
            worst = (found - expected).abs().max()
            _say(
                f"  margin {around:3d}: equal classes {equal:.4%}, largest difference {worst:.1e}"
            )


def measure(run: Path, large: dict[str, list[Path]], out: Path) -> None:
    """Draw the large map in a process of its own."""
    rasters = [f"{name}={','.join(map(str, paths))}" for name, paths in large.items()]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.maps", "--child", run, out, *rasters],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak = done.stdout.split()
    _say(f"{run.name}: {TILE * TIMES}x{TILE * TIMES} pixels in {seconds} s, peak memory {peak} MB")


def child(run: str, out: str, *rasters: str) -> None:
    """Print the seconds and the peak resident memory (MB) of one map."""
    from raymmfl.prediction.predict import predict

    started = time.perf_counter()
    predict(Path(run), rasters, Path(out), overwrite=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _say(f"{seconds:.1f} {peak:.0f}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
