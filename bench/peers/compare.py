"""Error and time of each system on the same queries at the same rho, against the exact answers of the raw file."""
import csv, gzip, json, math, statistics, sys
from collections import defaultdict
spec = json.load(open(sys.argv[1])); data = sys.argv[2]
answers = dict(a.split("=", 1) for a in sys.argv[3:])
n, s = defaultdict(lambda: defaultdict(int)), defaultdict(lambda: defaultdict(int))
with (gzip.open if data.endswith(".gz") else open)(data, "rt") as f:
    for row in csv.DictReader(f):
        for q in spec["queries"]:
            k = row[q["key"]]
            n[q["id"]][k] += 1
            if q.get("measure"):
                s[q["id"]][k] += int(row[q["measure"]])
truth = {q["id"]: {k: {"count": n[q["id"]][k], "sum": s[q["id"]][k], "avg": s[q["id"]][k] / max(1, n[q["id"]][k])}[q["agg"]] for k in q["codes"]} for q in spec["queries"]}
def cells(run):
    if "raw" not in run:
        return run["cells"]
    out = {}
    for r in run["raw"]["rows"]:
        c = r["cells"]
        out[c[0].get("value")] = float(c[1]["value"]) if c[1].get("value") not in (None, "") else None
    return out
print(f"{'query':28}{'system':14}{'RMSE':>12}{'÷ Sandgate':>12}{'withheld':>10}{'seconds':>10}{'÷ Sandgate':>12}")
for q in spec["queries"]:
    base = None
    for system, path in answers.items():
        runs = [r for r in json.load(open(path)) if r["id"] == q["id"]]
        errs, missing = [], 0
        for r in runs:
            got = cells(r)
            for k, want in truth[q["id"]].items():
                if q["agg"] == "avg" and n[q["id"]][k] < 1000:
                    continue  # every system is lost in noise there, and one withholds
                v = got.get(k)
                if v is None:
                    missing += 1
                else:
                    errs.append(float(v) - want)
        rmse = math.sqrt(statistics.fmean(e * e for e in errs))
        wall = statistics.median(r["wall"] for r in runs)
        base = base or (rmse, wall)
        print(f"{q['id']:28}{system:14}{rmse:12.3f}{rmse / base[0]:12.2f}{missing:10d}{wall:10.3f}{wall / base[1]:12.1f}")
