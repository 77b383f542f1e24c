# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quick start: from a scan to volumes and pictures
#
# We measure the MNI152 template that ships inside nilearn, so nothing is downloaded. It is an average of
# 152 brains: smooth, symmetric and without skull. To measure your own scan, put its path into `scan_path`:
# a NIfTI file, a DICOM folder or a zip of one.
#
# **Research use only. Not a medical device.**

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.datasets import load_mni152_template

from lnn_med import load_bundle, predict, read

scan_path = Path(tempfile.mkdtemp()) / "mni152.nii.gz"
nib.save(load_mni152_template(resolution=1), scan_path)

# %% [markdown]
# ## Read
# A `Volume` is voxels and an affine that maps voxel indices to RAS millimetres. A file that cannot be trusted
# is refused here with an `InputError`: its code, what was found and what to do.

# %%
scan = read(scan_path)
print(f"{scan.shape} voxels of {scan.spacing_mm} mm, orientation {scan.orientation}")

# %% [markdown]
# ## Which networks measure it
# A bundle is a network with its label table, its data and its hashes.

# %%
brain = load_bundle("brain-t1")
print(f"{brain.info.name} {brain.info.version}: {brain.info.job}")
print(f"{len(brain.info.labels)} structures, weights sha256 {brain.weights_sha256[:8]}")

# %% [markdown]
# ## Measure
# The head network finds all structures and both hippocampi; the hippocampus network then measures those
# at 1 mm.

# %%
prediction = predict(scan)
table = pd.DataFrame(
    {
        "structure": entry.name,
        "bundle": entry.bundle,
        "volume, mm³": entry.volume_mm3,
        "mean depth": entry.mean_depth,
    }
    for entry in prediction.structures
)
print(f"QC {prediction.quality.status}: {'; '.join(prediction.quality.reasons) or 'nothing found'}")
table.round(1)

# %% [markdown]
# ## Look
# Three planes through the hippocampi. All maps lie on the scan's own grid, so one index fits all.


# %%
def canonical(volume):
    """Array with axes to the right, front and top."""
    image = nib.Nifti1Image(np.asarray(volume.data, dtype=np.float32), volume.affine)
    return nib.as_closest_canonical(image).get_fdata(dtype=np.float32)


def show(background, overlay, title, colours, at, unit=None):
    """Three planes, the raw image above, the overlay below; the patient's left is on the left."""
    box = tuple(slice(index.min(), index.max() + 1) for index in np.nonzero(background > background.mean()))
    figure, axes = plt.subplots(2, 3, figsize=(11, 7), facecolor="black", layout="constrained")
    for column, (axis, name) in enumerate(((0, "sagittal"), (1, "coronal"), (2, "axial"))):
        plane = tuple(where if number != axis else at[axis] for number, where in enumerate(box))
        for row in axes[:, column]:
            row.imshow(background[plane].T, cmap="gray", origin="lower")
            row.axis("off")
        seen = np.ma.masked_equal(overlay[plane].T, 0)
        drawn = axes[1, column].imshow(
            seen, cmap=colours, origin="lower", alpha=0.6, vmin=0, vmax=overlay.max(), interpolation="nearest"
        )
        axes[0, column].set_title(name, color="white")
    if unit:
        bar = figure.colorbar(drawn, ax=axes[1], shrink=0.8)
        bar.set_label(unit, color="white")
        bar.ax.tick_params(colors="white")
    figure.suptitle(title, color="white")
    plt.show()


names = {name: index for index, name in prediction.label_names["segmentation.nii.gz"].items()}
image, labels = canonical(scan), canonical(prediction.maps["segmentation.nii.gz"])
left, right = (labels == names[f"Hippocampus_{side}"] for side in "LR")
centre = [int(values.mean()) for values in np.nonzero(left)]
scattered = np.where(labels > 0, labels * 7 % 20 + 1, 0)  # so that neighbours differ in colour
show(image, scattered, "Structures", "tab20", centre)

# %% [markdown]
# ## Where the network spent its depth
# The number of residual blocks that really ran at each voxel: counted, not estimated.

# %%
depth = canonical(prediction.maps["depth.nii.gz"])
show(image, depth, "Depth", "inferno", centre, unit="executed residual blocks")
cost = prediction.compute
print(f"{cost.seconds:.2f} s in the networks, {100 * cost.fraction:.0f} % of the work of full depth")
for blocks, share in sorted(cost.depth_histogram.items()):
    print(f"{blocks:3} blocks: {100 * share:5.1f} % of the voxels")

# %% [markdown]
# ## Is it plausible?
# The template is registered so that x = 0 lies between the hemispheres: the left hippocampus must be on the
# left, and each must have the size of a hippocampus. The size is that of `hippocampus-t1` at 1 mm; `brain-t1`
# works at 2 mm, finds the place and follows another protocol.

# %%
to_mm = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(scan.shape, np.uint8), scan.affine)).affine
fine = canonical(prediction.maps["hippocampus.nii.gz"])
fine_names = prediction.label_names["hippocampus.nii.gz"]
for side in "LR":
    mask = np.isin(fine, [index for index, name in fine_names.items() if f"_{side}_" in name])
    x_mm = (to_mm @ [*(values.mean() for values in np.nonzero(mask)), 1])[0]
    volume_mm3 = float(mask.sum()) * scan.voxel_mm3
    print(f"Hippocampus_{side}: {volume_mm3:.0f} mm³, centre at x = {x_mm:.0f} mm")
    assert (x_mm < 0) == (side == "L"), "left and right are exchanged"
    assert 2000 < volume_mm3 < 5500, "no plausible size of a hippocampus"
