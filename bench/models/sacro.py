"""SACRO-ML's attacks on the six models of the release gate. sacro.py DIR MODELS-PROGRAM

The models that are not private are scikit-learn's of the same kind and inputs, which the structural attack needs; the private ones are
trained by our own trainer, their shadow models too.
"""
import glob
import json
import logging
import subprocess
import sys
import tempfile

import numpy as np
from sacroml.attacks.likelihood_attack import LIRAAttack
from sacroml.attacks.structural_attack import StructuralAttack
from sacroml.attacks.target import Target
from sacroml.attacks.worst_case_attack import WorstCaseAttack
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

logging.disable(logging.WARNING)


class Nearest(KNeighborsClassifier):
    """One nearest neighbour, which has no use for the seed that LiRA sets."""

    def __init__(self, random_state=None):
        super().__init__(n_neighbors=1)
        self.random_state = random_state


class Sandgate(ClassifierMixin, BaseEstimator):
    """Our trainer as a scikit-learn estimator."""

    def __init__(self, program="", design="", random_state=1000):
        self.program, self.design, self.random_state = program, design, random_state

    def _ask(self, what, **asked):
        # The parameter file goes as a text: it has one spelling, which is not Python's.
        return subprocess.run([self.program, what], input=json.dumps(asked).encode(), capture_output=True, check=True).stdout

    def fit(self, x, y):
        self.model_ = self._ask("fit", design=json.loads(self.design), rows=x.tolist(), label=[float(v) for v in y], seed=self.random_state).decode().strip()
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, x):
        p = np.array(json.loads(self._ask("score", rows=x.tolist(), model=self.model_)))
        return np.stack([1 - p, p], axis=1)

    def predict(self, x):
        return self.predict_proba(x).argmax(axis=1)


def indicators(design, rows):
    """The design matrix without its intercept."""
    columns = []
    for i, f in enumerate(design["features"]):
        if f["kind"] == "number":
            columns.append(rows[:, i])
        else:
            columns += [(rows[:, i] == k).astype(float) for k in range(1, len(f["codes"]))]
    return np.stack(columns, axis=1)


def run(attack, target):
    return list(attack.attack(target)["attack_experiment_logger"]["attack_instance_logger"].values())


print("| model | trained on + held out | gate | LiRA online AUC (p) | offline | worst case AUC (significant of 10) | SACRO-ML on membership | structural risks |\n|---|---|---|---|---|---|---|---|")
for name in sorted(glob.glob(sys.argv[1] + "/*.six.json")):
    with open(name) as f:
        six = json.load(f)
    x, y, member = np.array(six["rows"]), np.array(six["label"], dtype=int), np.array(six["member"])
    spec = six["design"]["spec"]
    if "neighbour" in six["name"]:
        model = Nearest()
    elif "grown" in six["name"]:
        model = DecisionTreeClassifier(random_state=0)
    elif not spec.get("private"):
        x = indicators(six["design"], x)
        # Ours weighs l2 against the mean of the losses, scikit-learn C against their sum.
        model = LogisticRegression(C=1 / (spec["settings"]["l2"] * member.sum()), max_iter=5000)
    else:
        model = Sandgate(sys.argv[2], json.dumps(six["design"]))
    model.fit(x[member], y[member])
    target = Target(model=model, dataset_name=six["name"], X_train=x[member], y_train=y[member], X_test=x[~member], y_test=y[~member])
    lira = {}
    for mode in ("online-carlini", "offline-carlini"):
        with tempfile.TemporaryDirectory() as out:
            lira[mode] = run(LIRAAttack(output_dir=out, write_report=False, n_shadow_models=64, mode=mode), target)[0]
    with tempfile.TemporaryDirectory() as out:
        worst = run(WorstCaseAttack(output_dir=out, write_report=False, n_reps=10, include_model_correct_feature=True), target)
        risks = []
        if not isinstance(model, (Sandgate, Nearest)):
            risks = [k for k, v in run(StructuralAttack(output_dir=out, write_report=False), target)[0].items() if k.endswith("_risk") and v]
    auc, significant = np.mean([i["AUC"] for i in worst]), np.mean([i["P_HIGHER_AUC"] < 0.05 for i in worst])
    # The gate's mark, by what SACRO-ML measured: AUC above 0.55, and not by chance.
    caught = any(m["AUC"] > 0.55 and m["P_HIGHER_AUC"] < 0.01 for m in lira.values()) or auc > 0.55 and significant > 0.1
    online, offline = lira.values()
    print(f"| {six['name']} | {member.sum()} + {(~member).sum()} | {'FAIL' if six['expected'] else 'PASS'} | {online['AUC']:.3f} ({online['P_HIGHER_AUC']:.3f}) | {offline['AUC']:.3f} ({offline['P_HIGHER_AUC']:.3f})"
          f" | {auc:.3f} ({significant:.0%}) | {'FAIL' if caught else 'PASS'} | {', '.join(risks) or '–'} |", flush=True)
