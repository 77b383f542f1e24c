"""An nnU-Net model folder with untrained weights, for timing: runs in an environment that has nnunetv2.

    nnunet_model.py OUT --spacing 1.0 --shape 197 233 189 --classes 51
    nnunet_model.py OUT --spacing 1.0 --shape 35 50 35 --classes 3 --patch 40 56 40 --stages 4
    nnunet_model.py OUT --second SCAN           prints the seconds of a second scan in one process

The first is what nnU-Net's planner gives for a head of that size and 8 GB: PlainConvUNet, six stages,
31 million parameters, patches of 128³; the second its plan for the hippocampus. What the weights are does not
change the time. The last uses a folder that is there already.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

PATCH = [128, 128, 128]
FEATURES = [32, 64, 128, 256, 320, 320]


def plans(spacing: float, shape: list[int], patch: list[int], stages: int) -> dict[str, Any]:
    """Plans as nnU-Net's ExperimentPlanner writes them (nnunetv2 2.x)."""
    network = {
        "n_stages": stages,
        "features_per_stage": FEATURES[:stages],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration: dict[str, Any] = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "median_image_size_in_voxels": shape,
        "spacing": [spacing] * 3,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    for kind, changed in (
        ("data", {}),
        ("seg", {"is_seg": True, "order": 1}),
        ("probabilities", {"order": 1}),
    ):
        configuration[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{kind}_kwargs"] = {**resampling, **changed}
    keys = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")
    return {
        "dataset_name": "Dataset001_Head",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [spacing] * 3,
        "original_median_shape_after_transp": shape,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": dict.fromkeys(keys, 1.0)},
    }


def second(model: Path, scan: Path) -> float:
    """Seconds of nnU-Net's predictor from file to file for the second of two scans, on the CPU.

    Steps of half a patch, no mirroring, everything in this process.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), use_folds=(0,))
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            began = time.perf_counter()
            predictor.predict_from_files_sequential([[str(scan)]], [str(Path(folder) / f"{number}.nii.gz")])
            seconds = time.perf_counter() - began
    return seconds


def main() -> None:
    """Write plans.json, dataset.json and fold_0/checkpoint_final.pth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--spacing", type=float, default=1.0, help="mm")
    parser.add_argument("--shape", type=int, nargs=3, help="voxels")
    parser.add_argument("--classes", type=int, default=51, help="with background")
    parser.add_argument("--patch", type=int, nargs=3, default=PATCH)
    parser.add_argument("--stages", type=int, default=len(FEATURES))
    parser.add_argument("--second", type=Path, metavar="SCAN")
    chosen = parser.parse_args()
    if chosen.second:
        print(second(chosen.out, chosen.second))
        return
    if not chosen.shape:
        parser.error("--shape is needed")

    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    found = plans(chosen.spacing, chosen.shape, chosen.patch, chosen.stages)
    labels = {"background": 0} | {f"structure_{n}": n for n in range(1, chosen.classes)}
    dataset = {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    fold = chosen.out / "fold_0"
    fold.mkdir(parents=True, exist_ok=True)
    (chosen.out / "plans.json").write_text(json.dumps(found), encoding="utf-8")
    (chosen.out / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    architecture = found["configurations"]["3d_fullres"]["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        chosen.classes,
        deep_supervision=False,
    )
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
