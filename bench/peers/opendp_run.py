import json, sys, time
import polars as pl
import opendp.prelude as dp
dp.enable_features("contrib")
spec = json.load(open(sys.argv[1])); data, runs = sys.argv[2], int(sys.argv[3])
lf = pl.read_csv(data, infer_schema_length=0).lazy()
out = []
for q in spec["queries"]:
    cols = [spec["unit"], q["key"]] + ([q["measure"]] if q.get("measure") else [])
    f = lf.select(*cols)
    if q.get("measure"):
        f = f.with_columns(pl.col(q["measure"]).cast(pl.Int32))
    f = f.collect().lazy()
    keys = pl.LazyFrame([pl.Series(q["key"], q["codes"], dtype=pl.String)])
    for r in range(runs):
        t = time.perf_counter(); c = time.process_time()
        ctx = dp.Context.compositor(data=f, privacy_unit=dp.unit_of(contributions=1, identifier=spec["unit"]),
            privacy_loss=dp.loss_of(rho=q["rho"]), split_evenly_over=1,
            margins=[dp.polars.Margin(by=[q["key"]], invariant=None), dp.polars.Margin(by=[], max_length=200000, max_groups=100)])
        exprs, off = [], q.get("offset", 0)
        if q["agg"] in ("count", "avg"):
            exprs.append(dp.len().alias("n"))
        if q["agg"] in ("sum", "avg"):
            centred = pl.col(q["measure"]) - off
            exprs.append(centred.fill_null(0).dp.sum((q["lo"] - off, q["hi"] - off)).alias("s"))
        res = (ctx.query().truncate_per_group(spec["max_rows"]).group_by(q["key"]).agg(*exprs).with_keys(keys).release().collect())
        wall, cpu = time.perf_counter() - t, time.process_time() - c
        row = {}
        for d in res.to_dicts():
            if q["agg"] == "count": row[d[q["key"]]] = d["n"]
            elif q["agg"] == "sum": row[d[q["key"]]] = d["s"]
            else: row[d[q["key"]]] = q["offset"] + d["s"] / d["n"] if d["n"] else None
        out.append({"id": q["id"], "cells": row, "wall": wall, "cpu": cpu})
json.dump(out, sys.stdout)
