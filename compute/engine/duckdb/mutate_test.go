package duckdb

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

var token = regexp.MustCompile(`'(?:[^']|'')*'|"(?:[^"]|"")*"|[A-Za-z_][A-Za-z_0-9]*|[0-9]+|<=|>=|<>|//|[^\s]`)

// spare words take the place of a token or go in beside one.
var spare = strings.Fields(`t0 t1 t2 p w c g d0 d1 g0 g1 main t _unit _rn _consent SEMI ANTI "n" "cost" "a0" "wild" SUM COUNT MAX MIN any_value LEAST GREATEST AND OR NOT <= >= < > = <> + - * // %
	0 1 2 7 'x' NULL TRUE FALSE CAST TRY_CAST BIGINT INTEGER HUGEINT VARCHAR DISTINCT LEFT INNER UNION EXCEPT ALL WHERE HAVING ELSE WHEN ( ) , *
	error('x') (SELECT(1)) random() COUNT(*) t0._unit LIMIT DESC`)

// kin are tokens of which one can stand where another does.
var kin = [][]string{
	{"=", "<>", "<", "<=", ">", ">="}, {"AND", "OR"}, {"+", "-", "*", "//", "%"}, {"SUM", "MAX", "MIN", "COUNT", "any_value"}, {"LEAST", "GREATEST"},
	{"CAST", "TRY_CAST"}, {"BIGINT", "INTEGER", "HUGEINT", "VARCHAR"}, {"LEFT", "INNER", "FULL", "SEMI", "ANTI"}, {"t0", "t1", "t2", "p", "w", "c", "g"}, {"d0", "d1", "d2"}, {"g0", "g1", "g2", "d0"},
	{"year", "month", "day", "quarter", "isodow"}, {"_unit", "_rn", "_consent"}, {"TRUE", "FALSE"}, {"WHERE", "HAVING"}, {"ALL", "DISTINCT"},
	{`"n"`, `"cost"`, `"paid"`, `"a0"`, `"a1"`, `"wild"`, `"age"`, `"level"`, "_rn"}, {`"code"`, `"区""县"`, `"name"`},
}

func relative(r *rand.Rand, word string) string {
	for _, list := range kin {
		if slices.Contains(list, word) {
			return list[r.IntN(len(list))]
		}
	}
	if word != "" && word[0] >= '0' && word[0] <= '9' {
		return []string{"0", "1", "2", "3", "7", word + "0"}[r.IntN(6)]
	}
	if strings.HasPrefix(word, "'") {
		return []string{"'ab'", "'码1'", "''", "'1970-01-05'"}[r.IntN(4)]
	}
	return word
}

// mutant changes a text in one to three places, mostly so that it stays a statement.
func mutant(r *rand.Rand, text string) string {
	tokens := token.FindAllString(text, -1)
	for range 1 + r.IntN(3) {
		i, j := r.IntN(len(tokens)), r.IntN(len(tokens))
		switch r.IntN(20) {
		case 0:
			tokens = slices.Delete(tokens, i, i+1)
		case 1:
			tokens[i], tokens[j] = tokens[j], tokens[i]
		case 2:
			tokens = slices.Insert(tokens, i, spare[r.IntN(len(spare))])
		case 3:
			tokens[i] = spare[r.IntN(len(spare))]
		default:
			for at := range tokens {
				at = (at + i) % len(tokens)
				if next := relative(r, tokens[at]); next != tokens[at] {
					tokens[at] = next
					break
				}
			}
		}
	}
	return strings.Join(tokens, " ")
}

// outcome of statements whose answer depends on nothing but the tables.
func (b *bench) sameAnswer(p *protect.Plan, one, other string) bool {
	x, err := b.run(p, one)
	y, err2 := b.run(p, other)
	return err == nil && err2 == nil && summary(x) == summary(y)
}

// TestR01_MutatedStatementsAreCaught changes rendered texts at random: what the gate
// lets through must give the plan's own answer. The control counts the mutants the
// engine itself would have run with another answer.
func TestR01_MutatedStatementsAreCaught(t *testing.T) {
	b := newBench(t)
	r := rand.New(rand.NewPCG(11, 1))
	would, same := 0, 0
	n := rounds(200)
	var p *protect.Plan
	var schemas []algebra.Schema
	var text string
	for i := range n {
		if i%10 == 0 {
			w := newWorld(r)
			if i%20 == 0 {
				w.askConsent(r)
			}
			p = w.randomPlan(r)
			var err error
			if schemas, err = p.Core.SchemasOf(w.schemas); err != nil {
				t.Fatal(err)
			}
			if text, err = render.SQL(p, schemas); err != nil {
				t.Fatal(err)
			}
			b.load(w, p)
		}
		changed := mutant(r, text)
		ran, err := b.gate(p, schemas, changed)
		if !ran {
			continue
		}
		if err == nil {
			if !b.sameAnswer(p, text, changed) {
				t.Fatalf("%d: passed the gate\n%s\n%s", i, text, changed)
			}
			same++
			continue
		}
		if _, err := b.run(p, changed); err == nil && !b.sameAnswer(p, text, changed) {
			would++
		}
	}
	if would < n/100 || same > n/4 {
		t.Errorf("of %d mutants the engine would run %d with another answer, %d mean the same: this test tests little", n, would, same)
	}
	t.Logf("%d mutants: %d would have run with another answer, %d mean the same", n, would, same)
}

// mutateTree changes one node of a JSON tree at random and says whether it did. A
// text becomes one that stands under the same name elsewhere, so that most trees
// stay readable.
func mutateTree(r *rand.Rand, v any) bool {
	var nodes []func() bool
	var all []any
	texts := map[string][]any{"function_name": {"max", "+"}, "table_name": {"u"}, "id": {"INTEGER"}}
	var walk func(v any)
	walk = func(v any) {
		all = append(all, v)
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if k == "query_location" {
					continue
				}
				if text, ok := v[k].(string); ok {
					texts[k] = append(texts[k], text)
				}
				nodes = append(nodes, func() bool {
					old := v[k]
					switch is := old.(type) {
					case string:
						v[k] = texts[k][r.IntN(len(texts[k]))]
					case json.Number:
						n, err := is.Int64()
						if err != nil {
							return false
						}
						v[k] = json.Number(strconv.FormatInt(n+int64(r.IntN(3))-1, 10))
					case bool:
						v[k] = !is
					case nil:
						v[k] = all[r.IntN(len(all))]
					default:
						if r.IntN(2) == 0 {
							delete(v, k)
							return true
						}
						v[k] = all[r.IntN(len(all))]
					}
					return !reflect.DeepEqual(old, v[k])
				})
				walk(v[k])
			}
		case []any:
			for i := range v {
				nodes = append(nodes, func() bool {
					j := r.IntN(len(v))
					v[i], v[j] = v[j], v[i]
					return !reflect.DeepEqual(v[i], v[j])
				})
				walk(v[i])
			}
		}
	}
	walk(v)
	for range 10 {
		if nodes[r.IntN(len(nodes))]() {
			return true
		}
	}
	return false
}

// meaning leaves out of a tree what says nothing: places and empty fields.
func meaning(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if x = meaning(x); x != nil && x != "ORDER_MODIFIER" && k != "query_location" {
				out[k] = x
			}
		}
		if len(out) > 0 {
			return out
		}
		return nil
	case []any:
		var out []any
		for _, x := range v {
			out = append(out, meaning(x))
		}
		if len(out) > 0 {
			return out
		}
		return nil
	case string:
		if v != "" {
			return v
		}
		return nil
	case bool:
		if v {
			return v
		}
		return nil
	}
	return v
}

// decode keeps numbers as they are written.
func decode(t *testing.T, raw []byte) (out any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestR01_MutatedTreesAreCaught does the same to syntax trees. One that passes is
// turned back into text by the engine, and must give the plan's answer. (The engine
// dies of some trees that do not pass, so only the texts above are a control.)
func TestR01_MutatedTreesAreCaught(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	r := rand.New(rand.NewPCG(12, 1))
	caught, same := 0, 0
	n := rounds(200)
	var p *protect.Plan
	var schemas []algebra.Schema
	var text string
	var tree, bound []byte
	for i := range n {
		if i%10 == 0 {
			w := newWorld(r)
			if i%20 == 0 {
				w.askConsent(r)
			}
			p = w.randomPlan(r)
			var err error
			if schemas, err = p.Core.SchemasOf(w.schemas); err != nil {
				t.Fatal(err)
			}
			if text, err = render.SQL(p, schemas); err != nil {
				t.Fatal(err)
			}
			if tree, err = b.analyser.syntax(ctx, text); err != nil {
				t.Fatal(err)
			}
			if bound, err = b.analyser.bind(ctx, schemas, text); err != nil {
				t.Fatal(err)
			}
			b.load(w, p)
		}
		changed := decode(t, tree)
		if !mutateTree(r, changed) {
			continue
		}
		raw, err := json.Marshal(changed)
		if err != nil {
			continue // a node was put inside itself
		}
		if render.Check(p, schemas, raw, bound) != nil {
			caught++
			continue
		}
		same++
		if reflect.DeepEqual(meaning(changed), meaning(decode(t, tree))) {
			continue
		}
		var back string
		if err := b.analyser.db.QueryRowContext(ctx, "SELECT json_deserialize_sql($1::JSON)", string(raw)).Scan(&back); err != nil || !b.sameAnswer(p, text, back) {
			t.Fatalf("%d: passed the gate (%v)\n%s\n%s", i, err, text, back)
		}
	}
	if caught < n*3/4 {
		t.Errorf("only %d of %d were caught", caught, n)
	}
	t.Logf("%d of %d caught, %d mean the same", caught, n, same)
}

// otherPlan is a plan that differs from p in one place of its JSON and has another
// statement, which it returns too; nil when none was found.
func otherPlan(t *testing.T, r *rand.Rand, p *protect.Plan, schemas []algebra.Schema, text string) (*protect.Plan, string) {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for range 60 { // most changes give no plan, or change what the engine never sees
		changed := decode(t, raw)
		if !mutateTree(r, changed) {
			continue
		}
		raw, err := json.Marshal(changed)
		if err != nil {
			continue // a node was put inside itself
		}
		other := &protect.Plan{}
		if json.Unmarshal(raw, other) != nil {
			continue
		}
		if otherText, err := render.SQL(other, schemas); err == nil && otherText != text {
			return other, otherText
		}
	}
	return nil, ""
}

// TestR01_MutatedPlansAreCaught holds the statement of one plan against another that
// differs in one place of its algebra, and whose own statement is another.
func TestR01_MutatedPlansAreCaught(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	r := rand.New(rand.NewPCG(13, 1))
	caught, same, n := 0, 0, rounds(60)
	var w *world
	for i := range n {
		if i%10 == 0 {
			w = newWorld(r)
		}
		p := w.randomPlan(r)
		schemas, err := p.Core.SchemasOf(w.schemas)
		if err != nil {
			t.Fatal(err)
		}
		text, err := render.SQL(p, schemas)
		if err != nil {
			t.Fatal(err)
		}
		other, otherText := otherPlan(t, r, p, schemas, text)
		if other == nil {
			continue
		}
		tree, err := b.analyser.syntax(ctx, text)
		if err != nil {
			t.Fatal(err)
		}
		bound, err := b.analyser.bind(ctx, schemas, text)
		if err != nil {
			t.Fatal(err)
		}
		if render.Check(other, schemas, tree, bound) != nil {
			caught++
			continue
		}
		same++
		b.load(w, p)
		if len(other.Keys) == len(p.Keys) && len(other.Measures) == len(p.Measures) && !b.sameAnswer(p, text, otherText) {
			t.Fatalf("%d: the statement of one plan passes for another\n%s\n%s", i, text, otherText)
		}
	}
	if caught < n*3/4 {
		t.Errorf("only %d of %d were caught: this test tests little", caught, n)
	}
	t.Logf("%d of %d caught, %d mean the same", caught, n, same)
}
