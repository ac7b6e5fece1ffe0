package gateway

import (
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

func explanation(x *Explanation) *sandgatev1.ExplainJobResponse {
	out := &sandgatev1.ExplainJobResponse{Form: x.Form, Allowed: x.Allowed, Reasons: reasonsOf(x.Reasons), EngineSql: x.SQL, Repeat: x.Repeat, Budgets: budgetsOf(x.Budgets)}
	out.Boundary = boundaryOf(x.Boundary)
	out.Level, out.Wait = int32(x.Level.Level), x.Wait
	for _, c := range x.Level.Columns {
		out.LevelColumns = append(out.LevelColumns, c.String())
	}
	if x.Plan == nil {
		return out
	}
	out.Mode = string(x.Plan.Mode)
	if !x.Repeat {
		out.PriceNanoRho = int64(x.Plan.Rho)
	}
	for i, e := range x.Plan.ExpectedError() {
		ee := &sandgatev1.ExpectedError{Column: x.Names[i]}
		if !e.Root { // of a root there is only a bound
			ee.StandardDeviation = decimalOf(e.SD, e.Scale)
		}
		if e.PerValue || e.Root {
			ee.HalfWidth_1000 = decimalOf(e.At(defaultValues), e.Scale)
		} else {
			ee.HalfWidth = decimalOf(e.At(1), e.Scale)
		}
		ee.Rank, ee.Typical = e.Rows, e.Typical
		out.Errors = append(out.Errors, ee)
	}
	out.StepsZh, out.StepsEn = steps(x.Plan)
	out.StepsZh, out.StepsEn = append(x.SightsZH, out.StepsZh...), append(x.SightsEN, out.StepsEn...)
	return out
}
