package policies

import (
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// TestR20_WhatAPseudonymCanBeUsedFor: diagnosis_name is stored under pseudonyms. Every
// use that would compare one with something an agreement can write, or compute with
// it, is refused; with the mask off the same cores pass.
func TestR20_WhatAPseudonymCanBeUsedFor(t *testing.T) {
	text := algebra.Type{Kind: algebra.Text}
	name := algebra.Col{Name: "diagnosis_name", Type: text}
	lit := algebra.Expr{Op: algebra.ExprLit, Type: text, Value: &algebra.Value{Type: text, S: "x"}}
	self := algebra.Expr{Op: algebra.ExprCol, Type: text, Col: &name}
	born := algebra.Col{Name: "born", Type: algebra.Type{Kind: algebra.Date}}
	value := []algebra.Value{{Type: text, Redacted: true}}
	eq := algebra.Pred{Op: algebra.OpEq, Col: &name, Values: value}
	null := algebra.Pred{Op: algebra.OpIsNull, Col: &name}
	other := algebra.Col{Name: "other", Type: text}
	base := func(change func(*algebra.Core)) algebra.Core {
		c := algebra.Core{Tables: []algebra.Table{{Dataset: "people"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
		change(&c)
		return c
	}
	b, off := ruled(t, ", diagnosis_name: {op: pseudonym}", ""), ruled(t, "", "")
	for what, c := range map[string]struct {
		core algebra.Core
		want string
	}{
		"key":             {base(func(c *algebra.Core) { c.Keys = []algebra.Col{name} }), ""},
		"counted":         {base(func(c *algebra.Core) { c.Aggs = []algebra.Agg{{Func: algebra.CountCol, Arg: &name}} }), ""},
		"tested for NULL": {base(func(c *algebra.Core) { c.Where = &null }), ""},
		"with itself":     {base(func(c *algebra.Core) { c.Where = &algebra.Pred{Op: algebra.OpEq, Col: &name, Other: &name} }), ""},
		"with a literal":  {base(func(c *algebra.Core) { c.Where = &eq }), "PSEUDONYM_LITERAL"},
		"not, and": {base(func(c *algebra.Core) {
			c.Where = &algebra.Pred{Op: algebra.OpAnd, Args: []algebra.Pred{{Op: algebra.OpNot, Args: []algebra.Pred{eq}}, null}}
		}), "PSEUDONYM_LITERAL"},
		"IN": {base(func(c *algebra.Core) {
			c.Where = &algebra.Pred{Op: algebra.OpIn, Col: &name, Values: append(value, value...)}
		}), "PSEUDONYM_LITERAL"},
		"in a FILTER": {base(func(c *algebra.Core) { c.Aggs[0].Filter = &eq }), "PSEUDONYM_LITERAL"},
		"in a CASE condition": {base(func(c *algebra.Core) {
			c.Derived = []algebra.Expr{{Op: algebra.ExprCase, Type: text, Whens: []algebra.When{{If: eq, Then: lit}}}}
		}), "PSEUDONYM_LITERAL"},
		"per unit": {base(func(c *algebra.Core) {
			c.Tables[0].PerUnit = &algebra.PerUnit{Where: &eq, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
		}), "PSEUDONYM_LITERAL"},
		"as a CASE value": {base(func(c *algebra.Core) {
			c.Derived = []algebra.Expr{{Op: algebra.ExprCase, Type: text, Whens: []algebra.When{{If: null, Then: lit}}, Else: &self}}
		}), "PSEUDONYM_USE"},
		"in COALESCE": {base(func(c *algebra.Core) {
			c.Derived = []algebra.Expr{{Op: algebra.ExprCoalesce, Type: text, Args: []algebra.Expr{self, lit}}}
		}), "PSEUDONYM_USE"},
		"in order":            {base(func(c *algebra.Core) { c.Where = &algebra.Pred{Op: algebra.OpLt, Col: &name, Other: &name} }), "PSEUDONYM_USE"},
		"with another column": {base(func(c *algebra.Core) { c.Where = &algebra.Pred{Op: algebra.OpEq, Col: &other, Other: &name} }), "PSEUDONYM_USE"},
		"another column":      {base(func(c *algebra.Core) { c.Where = &algebra.Pred{Op: algebra.OpGt, Col: &born, Values: value} }), ""},
	} {
		var got []string
		for _, x := range b.decidePseudonyms(c.core) {
			got = append(got, x.Code)
			if x.SetBy != "dept" || x.HintZH == "" || x.HintEN == "" {
				t.Errorf("%s: the refusal does not say whose it is or what to do: %+v", what, x)
			}
		}
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %v, want %q", what, got, c.want)
		}
		if c.want != "" && !slices.Contains(codesOf(decided(b, "plan", "op", c.core)), c.want) {
			t.Errorf("%s: not part of the decision", what)
		}
		if got := off.decidePseudonyms(c.core); len(got) > 0 {
			t.Errorf("%s: control, no pseudonyms: %v", what, got)
		}
	}
	core := base(func(c *algebra.Core) { c.Keys = []algebra.Col{born, name} })
	if got := b.PseudonymKeys(core); !slices.Equal(got, []int{1}) {
		t.Errorf("keys to re-key: %v", got)
	}
	if got := off.PseudonymKeys(core); got != nil {
		t.Errorf("control: %v", got)
	}
	// A pseudonym that only some see is one too.
	some := heldBy(ruled(t, "", "  - {id: p, dataset: people, columns: [diagnosis_name], purposes: [plan], mask: {op: pseudonym}}\n"), "people")
	e, _ := some.Dataset("people")
	core.Keys[1].Name = e.Held[0]
	if got := some.PseudonymKeys(core); !slices.Equal(got, []int{1}) {
		t.Errorf("a hidden column of pseudonyms: %v", got)
	}
}
