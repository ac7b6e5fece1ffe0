import json, math, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from snsql import Privacy, from_df
spec = json.load(open(sys.argv[1])); data, runs = sys.argv[2], int(sys.argv[3])
cols = sorted({spec["unit"]} | {q["key"] for q in spec["queries"]} | {q["measure"] for q in spec["queries"] if q.get("measure")})
df = pd.read_csv(data, usecols=cols, dtype={spec["unit"]: str})
measures = {q["measure"]: q for q in spec["queries"] if q.get("measure")}
table = {"max_ids": spec["max_rows"], "sample_max_ids": True, "censor_dims": False, "clamp_counts": False, "rows": len(df)}
for c in cols:
    if c == spec["unit"]: table[c] = {"type": "string", "private_id": True}
    elif c in measures: table[c] = {"type": "int", "lower": measures[c]["lo"], "upper": measures[c]["hi"]}
    else: table[c] = {"type": "string"}
meta = {"": {"d": {"t": table}}}
out = []
for q in spec["queries"]:
    n = 2 if q["agg"] == "avg" else 1
    eps = math.sqrt(2 * q["rho"] / n)
    sel = {"count": "COUNT(*)", "sum": "SUM({0})", "avg": "AVG({0})"}[q["agg"]].format(q.get("measure"))
    for r in range(runs):
        t = time.perf_counter(); c = time.process_time()
        reader = from_df(df, metadata=meta, privacy=Privacy(epsilon=eps, delta=1e-9))
        res = reader.execute(f"SELECT {q['key']}, {sel} AS v FROM d.t GROUP BY {q['key']}")
        wall, cpu = time.perf_counter() - t, time.process_time() - c
        out.append({"id": q["id"], "cells": {k: v for k, v in res[1:]}, "wall": wall, "cpu": cpu})
json.dump(out, sys.stdout)
