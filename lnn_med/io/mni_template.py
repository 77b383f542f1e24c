"""The MNI152 template."""

from __future__ import annotations

import numpy as np

from lnn_med.volume import Volume

MAXIMUM = 4000  # 12 bits, as scanners write them


def mni152_template() -> Volume:
    """The T1 template that ships inside nilearn, 1 mm, skull-stripped, as integers; needs no network."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    data = np.asarray(image.dataobj, dtype=np.float32)
    scaled = np.rint(np.clip(data / data.max(), 0, 1) * MAXIMUM).astype(np.int16)
    return Volume(scaled, np.asarray(image.affine, dtype=np.float64))
