"""Where a segmentation network finds its structures in the MNI152 template."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lnn_med.inference.head import spacing_ratio
from lnn_med.inference.model_space import into_model_space
from lnn_med.inference.runtime import Engine
from lnn_med.io.mni_template import mni152_template
from lnn_med.transforms.standard_space import centroids_mm


def template_centroids(engine: Engine) -> NDArray[np.float64]:
    """Centre of mass of each structure in the template, RAS mm, (classes - 1, 3); NaN where absent."""
    template = mni152_template()
    space = engine.bundle.info.space
    seen = into_model_space(template, space)
    found = engine(seen.image, spacing_ratio(template, space.spacing_mm)).probabilities
    labels = found.argmax(dim=-1).to(torch.uint8).numpy()
    return centroids_mm(labels, seen.placement.affine, found.shape[-1])
