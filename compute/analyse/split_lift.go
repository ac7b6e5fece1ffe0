package analyse

import (
	"maps"
	"slices"

	"github.com/sandgate/sandgate/policies"
)

// lift replaces keys and aggregates by columns of main.released. What is left may
// name an alias, a companion or a lambda's own variable, but no column of the data.
func (w *rewriter) lift(v any, qualified bool, variables []string) (any, *policies.Reason) {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			e, r := w.lift(child, qualified, variables)
			if r != nil {
				return nil, r
			}
			out[i] = e
		}
		return out, nil
	case object:
		if i := w.find(v); i >= 0 {
			return w.columnFor(v, i, qualified)
		}
		switch v["class"] {
		case "COLUMN_REF":
			return v, w.leftover(v, variables)
		case "STAR":
			if v["columns"] != true || !qualified {
				return nil, w.d.refuse("STAR", offset(v))
			}
			return v, nil
		case "POSITIONAL_REFERENCE":
			return nil, w.d.refuse("POSITIONAL", offset(v))
		case "LAMBDA":
			variables = append(slices.Clone(variables), lambdaVariables(v["lhs"])...)
		}
		out := maps.Clone(v)
		for _, field := range slices.Sorted(maps.Keys(v)) {
			if v["class"] == "SUBQUERY" && field == "subquery" {
				continue
			}
			e, r := w.lift(v[field], qualified, variables)
			if r != nil {
				return nil, r
			}
			out[field] = e
		}
		return out, nil
	}
	return v, nil
}

func (w *rewriter) columnFor(v object, i int, qualified bool) (any, *policies.Reason) {
	for j, c := range w.columns {
		if j != i && j < w.keys && v["class"] == "COLUMN_REF" && sameExpression(c.expr, v, true) && !sameExpression(c.expr, w.columns[i].expr, true) {
			return nil, w.d.refuse("AMBIGUOUS_COLUMN", offset(v), columnName(v))
		}
	}
	out := reference(offset(v), w.columns[i].name)
	if qualified {
		out = reference(offset(v), "released", w.columns[i].name)
	}
	out["alias"] = v["alias"]
	return out, nil
}

func (w *rewriter) leftover(v object, variables []string) *policies.Reason {
	name := columnName(v)
	same := func(other string) bool { return sameName(other, name) }
	parts, _ := v["column_names"].([]any)
	first, _ := parts[0].(string)
	switch {
	case slices.ContainsFunc(variables, func(x string) bool { return sameName(x, first) }):
		return nil
	case len(parts) == 1 && slices.ContainsFunc(w.aliases, same):
		return nil
	case len(parts) == 1 && slices.ContainsFunc(w.columns, func(c lifted) bool {
		return c.estimate && (same(c.name+"_lo") || same(c.name+"_hi"))
	}):
		return nil
	case slices.ContainsFunc(w.inside.cols, same):
		return w.d.refuse("NOT_A_KEY", offset(v), name)
	}
	return w.d.refuse("UNKNOWN_COLUMN", offset(v), name)
}

func lambdaVariables(v any) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, child := range v {
			out = append(out, lambdaVariables(child)...)
		}
		return out
	case object:
		if name := columnName(v); name != "" {
			return []string{name}
		}
		return lambdaVariables(v["children"])
	}
	return nil
}
