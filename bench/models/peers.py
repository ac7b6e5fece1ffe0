"""scikit-learn and InterpretML's DP-EBM on the rows that ours was trained on: time, AUC. peers.py DIR"""
import json
import sys
import time

import numpy as np
from interpret.privacy import DPExplainableBoostingClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

with open(sys.argv[1] + "/real.json") as f:
    data = json.load(f)
features = data["design"]["features"]
numbers = data["numbers"]
y, y_held = (np.array(data[side]["label"], dtype=int) for side in ("train", "held"))


def inputs(side):
    """The design matrix: numbers scaled to [-1, 1], an indicator of each code but the first."""
    columns = []
    for f, number, v in zip(features, numbers, data[side]["values"]):
        v = np.array(v)
        if number:
            lo, hi = f["bounds"]
            columns.append(2 * (v - lo) / (hi - lo) - 1)
        else:
            columns += [(v == k).astype(float) for k in range(1, len(f["codes"]))]
    return np.stack(columns, axis=1)


def table(side, what):
    return np.stack([np.array(v, dtype=float) for v in data[side][what]], axis=1)


def row(name, train, score, auc):
    print(f"| {name} | {np.mean(train):.2f} | {len(y_held) / np.mean(score) / 1e6:.2f} | {np.mean(auc):.4f}" + (f" ± {np.std(auc):.4f}" if len(auc) > 1 else "") + " |", flush=True)


def peer(name, makes, x, x_held):
    train, score, auc = [], [], []
    for m in makes:
        begin = time.perf_counter()
        m.fit(x, y)
        middle = time.perf_counter()
        p = m.predict_proba(x_held)[:, 1]
        train.append(middle - begin)
        score.append(time.perf_counter() - middle)
        auc.append(roc_auc_score(y_held, p))
    row(name, train, score, auc)


print(f"{len(y)} patients trained on, {len(y_held)} held out, one stay each, {len(features)} features\n")
print("| | train s | score M rows/s | AUC held out |\n|---|---|---|---|")
for family, private in dict.fromkeys((r["family"], r["private"]) for r in data["results"]):
    runs = [r for r in data["results"] if (r["family"], r["private"]) == (family, private)]
    row(f"Sandgate {family}" + (", ε = 1" if private else ""), [r["train_seconds"] for r in runs], [r["score_seconds"] for r in runs], [roc_auc_score(y_held, r["held"]) for r in runs])
x, x_held = inputs("train"), inputs("held")
peer("scikit-learn LogisticRegression", [LogisticRegression(max_iter=1000)], x, x_held)
b, b_held = table("train", "bins"), table("held", "bins")
peer("scikit-learn DecisionTree, depth 4, leaf 20", [DecisionTreeClassifier(max_depth=4, min_samples_leaf=20, random_state=0)], x, x_held)
peer("scikit-learn RandomForest, 20 trees, depth 6, leaf 20", [RandomForestClassifier(20, max_depth=6, min_samples_leaf=20, random_state=s, n_jobs=1) for s in range(3)], x, x_held)
private = {"epsilon": 1.0, "delta": 1e-6, "composition": "gdp", "n_jobs": 1}
bounds = {i: tuple(f["bounds"]) if number else None for i, (f, number) in enumerate(zip(features, numbers))}
peer("InterpretML DP-EBM, ε = 1, its own bins", [DPExplainableBoostingClassifier(privacy_bounds={k: v for k, v in bounds.items() if v}, feature_types=["continuous" if n else "nominal" for n in numbers], **private) for _ in range(5)],
     table("train", "values"), table("held", "values"))
peer("InterpretML DP-EBM, ε = 1, our bins", [DPExplainableBoostingClassifier(feature_types=["nominal"] * len(features), **private) for _ in range(5)], b, b_held)
