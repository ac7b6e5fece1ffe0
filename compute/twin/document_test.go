package twin

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

func small(t testing.TB) (*Twin, []byte) {
	s := schemaOf(t, Spec{Columns: []string{"sex", "job", "visits", "insured", "name"}, PerUnit: []string{"sex"}, RowsPerUnit: 2, Rho: "0.5"}, registry())
	x := learnt(t, s, encoded(t, s, pick(residents(3000, 2, 1), "sex", "job", "visits", "insured")), 1)
	text, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return x, text
}

// A twin document is read back as it was written; one altered byte is refused.
func TestDocument(t *testing.T) {
	_, text := small(t)
	y, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := y.Encode()
	if err != nil || !bytes.Equal(text, again) {
		t.Fatalf("another encoding (%v)", err)
	}
	step := max(1, len(text)/150)
	for i := 0; i < len(text); i += step {
		bad := slices.Clone(text)
		bad[i] ^= 1
		if _, err := Parse(bad); code(err) != CodeFile {
			t.Fatalf("byte %d altered: %v", i, err)
		}
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "null": []byte("null\n"), "an empty one": []byte("{}\n"), "cut": text[:len(text)/2], "a space": append([]byte(" "), text...),
		"more": append(slices.Clone(text), "{}\n"...), "no end": bytes.TrimSpace(text),
		"an unknown field": bytes.Replace(text, []byte(`"rare"`), []byte(`"evil":1,"rare"`), 1),
	} {
		if _, err := Parse(bad); code(err) != CodeFile {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a sampler relies on is checked even when the digest is right.
func TestDocumentIsCheckedBeneathItsDigest(t *testing.T) {
	_, good := small(t)
	for name, change := range map[string]func(*Twin){
		"another format":         func(x *Twin) { x.Format = "sandgate-twin/v2" },
		"no schema":              func(x *Twin) { x.SchemaDigest = "" },
		"no price":               func(x *Twin) { x.Rho = "0" },
		"a price spelled oddly":  func(x *Twin) { x.Rho = "0.50" },
		"no units":               func(x *Twin) { x.Units = 0 },
		"negative noise":         func(x *Twin) { x.Noise[0] = -1 },
		"no lengths":             func(x *Twin) { x.Lengths = nil },
		"a weight below zero":    func(x *Twin) { x.Cells[0][0] = -1 },
		"a weight too great":     func(x *Twin) { x.Cells[0][0] = maxWeight + 1 },
		"a group without weight": func(x *Twin) { clear(x.Cells[1]) },
		"a group out of range":   func(x *Twin) { x.Groups[0][0] = 99 },
		"a cell too many":        func(x *Twin) { x.Cells[0] = append(x.Cells[0], 1) },
		"missing where it may not be": func(x *Twin) {
			c := slices.IndexFunc(x.Columns, func(c Column) bool { return !c.Nullable })
			x.Cells[c][len(x.Cells[c])-1] = 1
		},
		"a column less":         func(x *Twin) { x.Columns = x.Columns[1:] },
		"a column twice":        func(x *Twin) { x.Columns[1].Column = x.Columns[0].Column },
		"edges out of order":    func(x *Twin) { x.Columns[2].Edges[0] = x.Columns[2].Edges[1] },
		"bounds too wide":       func(x *Twin) { x.Columns[2].Bounds[1] = 1 << 62 },
		"an unknown identifier": func(x *Twin) { x.Generated[0].Kind = "soul" },
		"drawn twice":           func(x *Twin) { x.Order[1].Column = x.Order[0].Column },
		"a parent drawn later":  func(x *Twin) { x.Order[1].Parents = []int{x.Order[2].Column} },
		"a row of weights less": func(x *Twin) { x.Order[2].Weights = x.Order[2].Weights[1:] },
		"a row without weight":  func(x *Twin) { clear(x.Order[0].Weights[0]) },
		"constant, but drawn last": func(x *Twin) {
			x.Columns[x.Order[3].Column].PerUnit = true
			x.Columns[x.Order[1].Column].PerUnit = false
		},
		"a distance above one": func(x *Twin) { x.Quality.OneWay.Worst.High = 10_001 },
	} {
		x, err := Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		change(x)
		if _, err := x.Encode(); code(err) != CodeFile {
			t.Errorf("%s: encoded (%v)", name, err)
		}
		if _, err := x.Sampler(nil); code(err) != CodeFile {
			t.Errorf("%s: drawn from (%v)", name, err)
		}
		digest, _ := x.Digest()
		text, err := json.Marshal(document{x, digest})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(append(text, '\n')); code(err) != CodeFile {
			t.Errorf("%s: read (%v)", name, err)
		}
	}
}

// Whatever is read can be drawn from, and is written as it was.
func FuzzParse(f *testing.F) {
	_, text := small(f)
	f.Add(text)
	f.Add([]byte(`{"format":"sandgate-twin/v1"}`))
	f.Add([]byte(`{"order":[{"column":0,"weights":[[1]]}],"cells":[[1,0]],"groups":[[0,0]]}`))
	f.Add(bytes.Replace(text, []byte(`"parents":[`), []byte(`"parents":[-1,`), 1))
	f.Fuzz(func(t *testing.T, text []byte) {
		x := &Twin{}
		// Beneath the digest, which no fuzzer guesses: what passes the check is drawn from.
		if json.Unmarshal(text, &document{Twin: x}) == nil {
			if s, err := x.Sampler([]byte{1}); err == nil {
				if _, err := s.Rows(0, 3); err != nil {
					t.Fatal(err)
				}
			}
		}
		y, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := y.Encode(); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("another encoding (%v)", err)
		}
	})
}
