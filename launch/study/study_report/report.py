#!/usr/bin/env python3
"""Draws the pictures of a scaling study: report.py POINTS.json FOLDER. Called by annulus report.

Ends with 8 when it has drawn (0 is what any other program ends with), with 9 if matplotlib is missing and with 4 if the
folder cannot be written. Only pictures whose data are there are drawn, each as .svg and .png.
"""
# SPDX-License-Identifier: Apache-2.0
import json
import os
import sys

try:
    import matplotlib
except ImportError:
    sys.exit(9)
matplotlib.use("Agg")

import pictures  # noqa: E402  (after the backend is chosen)
import style  # noqa: E402


def main():
    points_path, folder = sys.argv[1:]
    with open(points_path, encoding="utf-8") as file:
        study = json.load(file)
    style.apply()
    try:
        for name, figure in pictures.all_pictures(study):
            style.save(figure, os.path.join(folder, name))
    except OSError as error:
        print(f"report.py: {error}", file=sys.stderr)
        sys.exit(4)
    sys.exit(8)


if __name__ == "__main__":
    main()
