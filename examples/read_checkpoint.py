#!/usr/bin/env python3
"""Reads the newest complete checkpoint of a folder: read_checkpoint.py DIR (needs h5py)."""
# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import sys

import h5py


def manifests(folder):
    for path in pathlib.Path(folder).glob("step-*/manifest.json"):
        try:
            yield json.loads(path.read_text()) | {"folder": path.parent}
        except ValueError:
            print(f"skipped {path}: it is no JSON", file=sys.stderr)


newest = max((m for m in manifests(sys.argv[1]) if m["complete"]), key=lambda m: m["sequence"])
with h5py.File(newest["folder"] / newest["file"]["name"]) as file:
    print(f"step {file.attrs['step']}, seed {file.attrs['seed']}, plan {file.attrs['plan']}")
    for dataset in newest["datasets"]:
        tensor = file[dataset["name"]]  # rows in global order; bf16 arrives as float32
        first_row = tensor[0, 0] if dataset["row_axis"] == 1 else tensor[0, :, 0]
        print(dataset["name"], dataset["dtype"], tensor.shape, first_row.ravel()[:4])
