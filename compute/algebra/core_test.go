package algebra_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

func joined(order ...int) algebra.Core {
	// Three public tables: area and trade hang on the fact table, region on area.
	all := []struct {
		dataset, left, right string
		parent               int // 0 fact, 1 area
	}{{"area", "area", "code", 0}, {"region", "region", "code", 1}, {"trade", "trade", "code", 0}}
	core := algebra.Core{Tables: []algebra.Table{{Dataset: "f"}}}
	at := map[string]int{}
	for i, o := range order {
		d := all[o]
		parent := 0
		if d.parent == 1 {
			parent = at["area"]
		}
		core.Tables = append(core.Tables, algebra.Table{Dataset: d.dataset})
		core.Joins = append(core.Joins, algebra.Join{Table: i + 1, Outer: d.dataset == "trade",
			Left: col(parent, d.left, algebra.Text), Right: col(i+1, d.right, algebra.Text)})
		at[d.dataset] = i + 1
	}
	core.Keys = []algebra.Col{col(at["region"], "name", algebra.Text), col(at["trade"], "name", algebra.Text)}
	arg := col(0, "n", algebra.Int)
	core.Aggs = []algebra.Agg{{Func: algebra.Sum, Arg: &arg}, {Func: algebra.CountRows}}
	return core
}

func TestR01_JoinOrderIsOneForm(t *testing.T) {
	want := joined(0, 1, 2).Canonical().Bytes()
	for _, order := range [][]int{{0, 2, 1}, {2, 0, 1}} {
		if got := joined(order...).Canonical().Bytes(); !bytes.Equal(got, want) {
			t.Errorf("order %v:\n got %s\nwant %s", order, got, want)
		}
	}
	twice := joined(0, 1, 2)
	twice.Tables = append(twice.Tables, algebra.Table{Dataset: "area"})
	twice.Joins = append(twice.Joins, algebra.Join{Table: 4, Outer: true, Left: col(0, "area", algebra.Text), Right: col(4, "code", algebra.Text)})
	if got := twice.Canonical().Bytes(); !bytes.Equal(got, want) {
		t.Errorf("a repeated join changes nothing:\n got %s\nwant %s", got, want)
	}
}

func TestR01_CanonicaliseMovesReferences(t *testing.T) {
	k1, k2, n := col(0, "k1", algebra.Text), col(0, "k2", algebra.Text), col(0, "n", algebra.Int)
	limit, three := int64(10), 3
	q := algebra.Query{
		Core: algebra.Core{Tables: []algebra.Table{{Dataset: "f"}}, Keys: []algebra.Col{k2, k1, k2},
			Aggs: []algebra.Agg{{Func: algebra.Sum, Arg: &n}, {Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &n}}},
		Post: algebra.Post{
			Outputs: []algebra.Output{{Ref: 0, Name: "x"}, {Ref: 3, Name: "total"}, {Ref: 5, Name: "again"}},
			Having: &algebra.PostPred{Op: algebra.OpNot, Args: []algebra.PostPred{
				{Op: algebra.OpLt, Ref: 4, Other: &three}}},
			Order: []algebra.Order{{Ref: 1, Desc: true}}, Limit: &limit, Offset: 2,
		},
	}
	got := algebra.Canonicalise(q)
	// keys k1,k2 then count, sum: old k2=0→1, k1=1→0, k2=2→1, sum=3→3, count=4→2, sum=5→3.
	if !reflect.DeepEqual(got.Core.Keys, []algebra.Col{k1, k2}) || len(got.Core.Aggs) != 2 {
		t.Fatalf("core: %s", got.Core.Bytes())
	}
	wantOut := []algebra.Output{{Ref: 1, Name: "x"}, {Ref: 3, Name: "total"}, {Ref: 3, Name: "again"}}
	if !reflect.DeepEqual(got.Post.Outputs, wantOut) {
		t.Errorf("outputs: %+v", got.Post.Outputs)
	}
	if h := got.Post.Having.Args[0]; h.Ref != 2 || *h.Other != 3 {
		t.Errorf("having: %+v", h)
	}
	if got.Post.Order[0].Ref != 0 || *got.Post.Limit != 10 || got.Post.Offset != 2 {
		t.Errorf("post: %+v", got.Post)
	}
	if three != 3 || q.Post.Order[0].Ref != 1 {
		t.Error("the query passed in was changed")
	}
}

func TestR01_RedactedCoreHoldsNoLiteral(t *testing.T) {
	id := algebra.Value{Type: algebra.Type{Kind: algebra.Text}, S: "11010519491231002X"}
	s := col(0, "s", algebra.Text)
	core := coreOf(algebra.Pred{Op: algebra.OpOr, Args: []algebra.Pred{
		{Op: algebra.OpIn, Col: &s, Values: []algebra.Value{id, {Type: id.Type, S: "110105"}}},
		number(algebra.OpGt, col(0, "a", algebra.Int), 424242),
	}}).Canonical()
	red := core.Redacted()
	if b := string(red.Bytes()); strings.Contains(b, "11010") || strings.Contains(b, "42424") {
		t.Fatalf("literal survives: %s", b)
	}
	if !strings.Contains(string(core.Bytes()), "11010519491231002X") {
		t.Fatal("control: the core itself holds the literal, and Redacted left it alone")
	}
	for _, p := range red.Where.Args {
		if p.Op == algebra.OpIn && len(p.Values) != 2 {
			t.Errorf("IN list changed length: %d", len(p.Values))
		}
	}
	back, err := algebra.ParseCore(red.Bytes())
	if err != nil || !bytes.Equal(back.Canonical().Bytes(), red.Bytes()) {
		t.Errorf("a redacted core must stay as it is: %v", err)
	}
}

func schemas() []algebra.Schema {
	text, num := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Int}
	return []algebra.Schema{
		{Dataset: "f", Unit: "id", Columns: []algebra.SchemaColumn{{Name: "id", Type: text}, {Name: "area", Type: text}, {Name: "trade", Type: text}, {Name: "n", Type: num}, {Name: "s", Type: text}, {Name: "a", Type: num}}},
		{Dataset: "area", Public: true, Unique: []string{"code"}, Columns: []algebra.SchemaColumn{{Name: "code", Type: text}, {Name: "region", Type: text}, {Name: "name", Type: text}}},
		{Dataset: "region", Public: true, Unique: []string{"code"}, Columns: []algebra.SchemaColumn{{Name: "code", Type: text}, {Name: "name", Type: text}}},
		{Dataset: "trade", Public: true, Unique: []string{"code"}, Columns: []algebra.SchemaColumn{{Name: "code", Type: text}, {Name: "name", Type: text}}},
	}
}

func TestValidate(t *testing.T) {
	if err := joined(0, 1, 2).Canonical().Validate(schemas()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*algebra.Core, []algebra.Schema){
		"no aggregate":       func(c *algebra.Core, _ []algebra.Schema) { c.Aggs = nil },
		"table out of range": func(c *algebra.Core, _ []algebra.Schema) { c.Keys[0].Table = 9 },
		"negative table":     func(c *algebra.Core, _ []algebra.Schema) { c.Keys[0].Table = -1 },
		"unknown column":     func(c *algebra.Core, _ []algebra.Schema) { c.Keys[0].Name = "nope" },
		"wrong type":         func(c *algebra.Core, _ []algebra.Schema) { c.Keys[0].Type.Kind = algebra.Int },
		"unit as key":        func(c *algebra.Core, _ []algebra.Schema) { c.Keys = []algebra.Col{col(0, "id", algebra.Text)} },
		"unknown data set":   func(c *algebra.Core, _ []algebra.Schema) { c.Tables[0].Dataset = "g" },
		"private dimension":  func(_ *algebra.Core, s []algebra.Schema) { s[1].Public = false },
		"key not unique":     func(_ *algebra.Core, s []algebra.Schema) { s[1].Unique = []string{"name"} },
		"public fact":        func(_ *algebra.Core, s []algebra.Schema) { s[0].Public = true },
		"sum of text":        func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[0].Arg.Type.Kind = algebra.Text },
		"unknown function":   func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[1].Func = "max" },
		"count with column":  func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[1].Arg = c.Aggs[0].Arg },
		"join backwards":     func(c *algebra.Core, _ []algebra.Schema) { c.Joins[0].Left.Table = 2 },
		"literal type": func(c *algebra.Core, _ []algebra.Schema) {
			n := col(0, "n", algebra.Int)
			c.Where = &algebra.Pred{Op: algebra.OpEq, Col: &n, Values: []algebra.Value{{Type: algebra.Type{Kind: algebra.Text}, S: "x"}}}
		},
		"nul in text": func(c *algebra.Core, _ []algebra.Schema) {
			s := col(0, "s", algebra.Text)
			c.Where = &algebra.Pred{Op: algebra.OpEq, Col: &s, Values: []algebra.Value{{Type: s.Type, S: "x\x00"}}}
		},
		"unknown operator": func(c *algebra.Core, _ []algebra.Schema) {
			n := col(0, "n", algebra.Int)
			p := number("like", n, 1)
			c.Where = &p
		},
		"no units": func(c *algebra.Core, s []algebra.Schema) {
			s[0].Unit = ""
			c.Aggs = []algebra.Agg{{Func: algebra.CountUnits}}
		},
	} {
		core, list := joined(0, 1, 2), schemas()
		spoil(&core, list)
		if err := core.Validate(list); err == nil {
			t.Errorf("%s: accepted", name)
		}
		core.Canonical() // must not panic whatever it is given
	}
}

func TestR30_ParseCoreIsStrict(t *testing.T) {
	good := string(joined(0, 1, 2).Canonical().Bytes())
	for name, s := range map[string]string{
		"trailing":      good + " ",
		"two":           good + good,
		"unknown field": strings.Replace(good, `{"tables"`, `{"raw":1,"tables"`, 1),
		"letter case":   strings.Replace(good, `"tables"`, `"Tables"`, 1),
		"space":         strings.Replace(good, `"tables":`, `"tables": `, 1),
		"default named": strings.Replace(good, `"aggs"`, `"where":null,"aggs"`, 1),
		"empty":         "",
		"null":          "null",
		"array":         "[]",
	} {
		if _, err := algebra.ParseCore([]byte(s)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if c, err := algebra.ParseCore([]byte(good)); err != nil || string(c.Bytes()) != good {
		t.Errorf("round trip: %v", err)
	}
}

func FuzzParseCore(f *testing.F) {
	f.Add(joined(0, 1, 2).Canonical().Bytes())
	f.Add(coreOf(number(algebra.OpIn, col(0, "a", algebra.Int), 1, 2)).Bytes())
	f.Add(coreOf(number(algebra.OpNot, col(0, "a", algebra.Int), 1)).Redacted().Bytes())
	wide, _ := extended()
	f.Add(wide.Bytes())
	f.Add(wide.Canonical().Redacted().Bytes())
	f.Add([]byte(`{"tables":[{"dataset":"f"}],"where":{"op":"not","args":[]},"aggs":[{"func":"count"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := algebra.ParseCore(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Bytes(), b) {
			t.Fatal("accepted bytes are not canonical")
		}
		canonical := c.Canonical()
		if again := canonical.Canonical(); !bytes.Equal(again.Bytes(), canonical.Bytes()) {
			t.Fatalf("not idempotent:\n%s\n%s", canonical.Bytes(), again.Bytes())
		}
		if err := c.Validate(schemas()); err == nil {
			if err := canonical.Validate(schemas()); err != nil {
				t.Fatalf("canonical form of a valid core is not valid: %v", err)
			}
		}
	})
}
