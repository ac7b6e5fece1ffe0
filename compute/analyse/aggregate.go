package analyse

import (
	"reflect"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// aggregates are the aggregate functions by name. Their other names in SQL stand
// beside them.
var aggregates = map[string]algebra.Func{
	"count_star": algebra.CountRows, "count": algebra.CountCol, "sum": algebra.Sum, "avg": algebra.Avg, "mean": algebra.Avg,
	"var_samp": algebra.VarSamp, "variance": algebra.VarSamp, "var_pop": algebra.VarPop,
	"stddev_samp": algebra.StddevSamp, "stddev": algebra.StddevSamp, "stddev_pop": algebra.StddevPop,
	"covar_samp": algebra.CovarSamp, "covar_pop": algebra.CovarPop, "corr": algebra.Corr,
	"regr_slope": algebra.RegrSlope, "regr_intercept": algebra.RegrIntercept, "regr_r2": algebra.RegrR2, "regr_count": algebra.RegrCount,
	"median": algebra.Quantile, "quantile": algebra.Quantile, "quantile_cont": algebra.Quantile, "quantile_disc": algebra.Quantile,
	"approx_quantile": algebra.Quantile, "percentile_cont": algebra.Quantile, "percentile_disc": algebra.Quantile,
	"min": algebra.Min, "max": algebra.Max,
	"histogram": "histogram", // COUNT(*) by bin(x): selectList
}

func isAggregate(name string) bool { return aggregates[name] != "" }

// aggregate reads an aggregate call and registers it once.
func (d *decoder) aggregate(e object) (term, *policies.Reason) {
	a, r := d.aggregateCall(e)
	if r != nil {
		return term{}, r
	}
	return d.output(a), nil
}

// aggregateCall reads an aggregate call.
func (d *decoder) aggregateCall(e object) (algebra.Agg, *policies.Reason) {
	nothing := algebra.Agg{}
	off := offset(e)
	name := lowered(d.str(e, "function_name"))
	function, known := aggregates[name]
	arguments := d.list(e, "children")
	orders := d.list(d.inner(e, "order_bys", "orders"), "orders")
	distinct := d.flag(e, "distinct")
	switch {
	case !known:
		return nothing, d.refuseFunction(e)
	case d.str(e, "schema") != "" || d.str(e, "catalog") != "":
		return nothing, d.refuse("QUALIFIED_NAME", off)
	case d.flag(e, "is_operator") || d.flag(e, "export_state"):
		return nothing, d.refuse("UNSUPPORTED", off)
	case name == "histogram":
		return nothing, d.refuse("HISTOGRAM", off)
	}
	if r := d.only(e, "function_name", "children", "distinct", "filter", "order_bys"); r != nil {
		return nothing, r
	}
	quantile := function == algebra.Quantile
	if len(orders) > 0 {
		// WITHIN GROUP (ORDER BY x): the parser leaves the quantile as the argument.
		if !quantile || len(orders) != 1 || len(arguments) != 1 || name == "median" {
			return nothing, d.refuse("FILTER_CLAUSE", off)
		}
		o := d.asObject(orders[0])
		if r := d.only(o, "null_order", "expression"); r != nil {
			return nothing, r
		}
		if kind := d.str(o, "type"); kind != "ORDER_DEFAULT" && kind != "ASCENDING" || d.str(o, "null_order") != "ORDER_DEFAULT" {
			return nothing, d.refuse("QUANTILE", off)
		}
		arguments = []any{o["expression"], arguments[0]}
	}
	var filter *algebra.Pred
	if e["filter"] != nil {
		c, r := d.condition(d.obj(e, "filter"), d.whereTerm)
		if r != nil {
			return nothing, r
		}
		p := c.pred()
		filter = &p
	}
	a, r := d.callOf(function, name, arguments, distinct, off)
	a.Filter = filter
	return a, r
}

// callOf reads the arguments of an aggregate.
func (d *decoder) callOf(function algebra.Func, name string, arguments []any, distinct bool, off int) (algebra.Agg, *policies.Reason) {
	a := algebra.Agg{Func: function}
	wrong := func(off int) (algebra.Agg, *policies.Reason) { return a, d.refuse("AGGREGATE_ARGUMENT", off) }
	if function == algebra.CountRows {
		if len(arguments) > 0 || distinct {
			return wrong(off)
		}
		return a, nil
	}
	if function == algebra.Quantile {
		if name == "median" {
			a.Q = 500_000
		} else {
			if len(arguments) != 2 {
				return a, d.refuse("QUANTILE", off)
			}
			q, ok := d.millionths(d.asObject(arguments[1]))
			if !ok {
				return a, d.refuse("QUANTILE", offset(arguments[1]))
			}
			a.Q, arguments = q, arguments[:1]
		}
	}
	two := slices.Contains([]algebra.Func{algebra.CovarSamp, algebra.CovarPop, algebra.Corr, algebra.RegrSlope,
		algebra.RegrIntercept, algebra.RegrR2, algebra.RegrCount}, function)
	if want := map[bool]int{false: 1, true: 2}[two]; len(arguments) != want {
		return wrong(off)
	}
	first := d.asObject(arguments[0])
	if distinct {
		if function != algebra.CountCol || first["class"] != "COLUMN_REF" {
			return a, d.refuse("DISTINCT", offset(first))
		}
		return d.countUnits(first)
	}
	var cols []algebra.Col
	for _, item := range arguments {
		e := d.asObject(item)
		if isLiteral(e) {
			lit, r := d.literal(e)
			if r == nil && function == algebra.CountCol && lit.kind == litNumber { // COUNT(1)
				return algebra.Agg{Func: algebra.CountRows}, nil
			}
			return wrong(offset(e))
		}
		t, r := d.whereTerm(e)
		if r != nil {
			if r.Code == "AGGREGATE_IN_WHERE" {
				r = d.refuse("AGGREGATE_NESTED", offset(e), name)
			}
			return a, r
		}
		switch k := t.typ.Kind; {
		case function == algebra.CountCol, isNumber(t.typ):
		case k == algebra.Date && (function == algebra.Quantile || function == algebra.Min || function == algebra.Max):
		default:
			return wrong(offset(e))
		}
		cols = append(cols, t.col)
	}
	a.Arg = &cols[0]
	if two {
		a.Arg2 = &cols[1]
	}
	return a, nil
}

// millionths reads the quantile of a literal, 0…1.
func (d *decoder) millionths(e object) (int64, bool) {
	if !isLiteral(e) {
		return 0, false
	}
	lit, r := d.literal(e)
	if r != nil {
		return 0, false
	}
	lit, ok := lit.fit(algebra.Type{Kind: algebra.Decimal, Scale: 6})
	if !ok {
		return 0, false
	}
	q := scaled(lit.number, 6)
	if !q.IsInt() || !q.Num().IsInt64() {
		return 0, false
	}
	n := q.Num().Int64()
	return n, n >= 0 && n <= 1_000_000
}

// countUnits reads COUNT(DISTINCT unit).
func (d *decoder) countUnits(argument object) (algebra.Agg, *policies.Reason) {
	off := offset(argument)
	a := algebra.Agg{Func: algebra.CountUnits}
	if r := d.only(argument, "column_names"); r != nil {
		return a, r
	}
	c, at, r := d.lookup(d.names(argument, "column_names"), off, 0, len(d.scope.tables))
	if r != nil {
		return a, r
	}
	if !c.unit || !d.scope.tables[at].firm {
		return a, d.refuse("DISTINCT", off)
	}
	return a, nil
}

// output registers an aggregate once and names it as a reader would write it.
func (d *decoder) output(a algebra.Agg) term {
	i := slices.IndexFunc(d.out.core.Aggs, func(b algebra.Agg) bool { return reflect.DeepEqual(a, b) })
	if i < 0 {
		i = len(d.out.core.Aggs)
		d.out.core.Aggs = append(d.out.core.Aggs, a)
	}
	t := term{ref: ^i, typ: algebra.Type{Kind: algebra.Int}, name: d.aggregateName(a)}
	switch a.Func {
	case algebra.CountRows, algebra.CountUnits, algebra.CountCol, algebra.RegrCount:
	case algebra.Sum, algebra.Quantile, algebra.Min, algebra.Max:
		t.typ = a.Arg.Type
	case algebra.Avg:
		t.typ, t.mean = a.Arg.Type, true
	default: // moments: any decimal literal compares
		t.typ, t.mean = algebra.Type{Kind: algebra.Decimal, Scale: 6}, true
	}
	return t
}

func (d *decoder) aggregateName(a algebra.Agg) string {
	name := ""
	switch a.Func {
	case algebra.CountRows:
		name = "count(*)"
	case algebra.CountUnits:
		name = "count(distinct " + d.unitName() + ")"
	case algebra.CountCol:
		name = "count(" + d.exprName(*a.Arg) + ")"
	case algebra.Quantile:
		if name = "quantile"; a.Q == 500_000 {
			name = "median"
		}
		name += "(" + d.exprName(*a.Arg) + ")"
	default:
		name = string(a.Func) + "(" + d.exprName(*a.Arg)
		if a.Arg2 != nil {
			name += ", " + d.exprName(*a.Arg2)
		}
		name += ")"
	}
	if a.Filter != nil {
		name += " filter"
	}
	return name
}

// unitName is what the fact table's unit column is called.
func (d *decoder) unitName() string {
	for _, c := range d.scope.tables[0].columns {
		if c.unit {
			return c.name
		}
	}
	return "unit"
}
