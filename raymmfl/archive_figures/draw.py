"""All pictures of an archive, in one folder."""

from collections.abc import Sequence
from pathlib import Path

from raymmfl.archive.spectra import class_values
from raymmfl.archive.store import Archive
from raymmfl.archive_figures.labels import draw_labels
from raymmfl.archive_figures.places import draw_places
from raymmfl.archive_figures.samples import draw_samples
from raymmfl.archive_figures.spectra import draw_spectra

Colour = tuple[int, int, int]


def draw(archive: Archive, colours: Sequence[Colour], out: Path, seed: int = 0) -> list[Path]:
    """Draw samples, spectra per sensor, the map of places and the label counts.

    Args:
        archive: to draw.
        colours: of the classes, in label order.
        out: folder of the pictures (PNG) and of the numbers behind them (CSV); what it holds of
            an earlier call is replaced.
        seed: of the choice of scenes and pixels.

    Returns:
        The paths of the pictures.
    """
    title = title_of(archive)
    pictures = [
        draw_samples(archive, colours, out / "samples.png", title, seed),
        draw_places(archive, out / "places.png", title),
        draw_labels(archive, out / "labels.png", title),
    ]
    for sensor in archive.sensors:
        found = class_values(archive, sensor, seed)
        if found.values:
            tones = dict(zip(archive.labels, colours, strict=True))
            picture = out / f"spectra_{sensor}.png"
            pictures.append(draw_spectra(found, tones, picture, title))
    return pictures


def title_of(archive: Archive) -> str:
    """Name, size, and whether the data are synthetic."""
    parts = [archive.path.name, f"{len(archive):,} scenes"]
    return " · ".join([*parts, "synthetic data"] if archive.synthetic else parts)
