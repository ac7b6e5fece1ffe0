"""Scores the rows of every NAME.json in a folder with NAME.onnx, by onnxruntime, into NAME.out.json.

A missing number is null. Rows are scored at once, and the first ten again one by one.
"""
import glob
import json
import sys

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1


def plain(a):
    return [[None if np.isnan(x) else float(x) for x in row] for row in a]


for name in glob.glob(sys.argv[1] + "/*.json"):
    if name.endswith(".out.json"):
        continue
    session = onnxruntime.InferenceSession(name[:-5] + ".onnx", options, providers=["CPUExecutionProvider"])
    feeds = {}
    with open(name) as f:
        rows = json.load(f)
    for port in session.get_inputs():
        kind = {"tensor(double)": np.float64, "tensor(string)": object}[port.type]
        feeds[port.name] = np.array(rows[port.name], dtype=kind).reshape(-1, 1)
    score, rounded = session.run(None, feeds)
    for i in range(10):
        one, two = session.run(None, {k: v[i : i + 1] for k, v in feeds.items()})
        # The exponential of many numbers at once may differ in its last digit.
        np.testing.assert_allclose(one, score[i : i + 1], rtol=1e-14)
        np.testing.assert_allclose(two, rounded[i : i + 1], rtol=1e-14)
    with open(name[:-5] + ".out.json", "w") as f:
        json.dump({"outputs": [p.name for p in session.get_outputs()], "score": plain(score), "rounded": plain(rounded)}, f)
