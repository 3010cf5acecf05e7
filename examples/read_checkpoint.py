#!/usr/bin/env python3
"""Reads the newest complete checkpoint of a folder: read_checkpoint.py DIR (needs h5py)."""
# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import sys

import h5py

manifests = [json.loads(path.read_text()) | {"folder": path.parent}
             for path in pathlib.Path(sys.argv[1]).glob("step-*/manifest.json")]
newest = max((m for m in manifests if m["complete"]), key=lambda m: m["sequence"])
with h5py.File(newest["folder"] / newest["file"]["name"]) as file:
    print(f"step {file.attrs['step']}, seed {file.attrs['seed']}, plan {file.attrs['plan']}")
    for dataset in newest["datasets"]:
        tensor = file[dataset["name"]]  # rows in global order; bf16 arrives as float32
        first_row = tensor[0, 0] if dataset["row_axis"] == 1 else tensor[0, :, 0]
        print(dataset["name"], dataset["dtype"], tensor.shape, first_row.ravel()[:4])
