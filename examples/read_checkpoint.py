#!/usr/bin/env python3
"""Reads the newest complete checkpoint of a folder: python3 read_checkpoint.py DIR"""
# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import sys

import h5py

manifests = pathlib.Path(sys.argv[1]).glob("step-*/manifest.json")
newest = max(manifests, key=lambda path: json.loads(path.read_text())["sequence"])
with h5py.File(newest.parent / "activations.h5") as file:
    print(newest.parent, "made by", json.loads(file.attrs["plan"]).get("arguments"))
    for name, tensor in file[f"layers/{file.attrs['step']:06}"].items():
        values = tensor[...].astype("float32")
        print(f"{name:4} {tensor.shape} mean {values.mean():.4f} largest {abs(values).max():.4f}")
