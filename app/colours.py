"""One colour for each structure, the same in every case; left and right differ in brightness."""

from __future__ import annotations

import colorsys
import zlib

FIXED = {
    "Hippocampus_L": "#ffd640",
    "Hippocampus_R": "#60b0ff",
    "Hippocampus_L_Anterior": "#ffd640",
    "Hippocampus_L_Posterior": "#ff9140",
    "Hippocampus_R_Anterior": "#60b0ff",
    "Hippocampus_R_Posterior": "#b48cff",
    "Hippocampus_Anterior": "#ffd640",
    "Hippocampus_Posterior": "#60b0ff",
}


def colour_of(name: str) -> str:
    """Hex colour of a structure, made from its name without the side."""
    if name in FIXED:
        return FIXED[name]
    parts = name.split("_")
    base = "_".join(part for part in parts if part not in ("L", "R"))
    hue = (zlib.crc32(base.encode()) % 3600) / 3600
    lightness = 0.72 if "L" in parts else 0.5 if "R" in parts else 0.6
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.75)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
