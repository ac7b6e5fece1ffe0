package gateway

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// TestAttack_R20_TwoAgreementsGetNoCommonPseudonym: one stored release answers jobs
// under several agreements, purposes and data sets. No two of them share a value, or
// the order of rows; the same one is given the same again. The control is the stored
// release: without re-keying all would be given its values.
func TestAttack_R20_TwoAgreementsGetNoCommonPseudonym(t *testing.T) {
	d := &Domain{keys: &home.Keys{Token: []byte(strings.Repeat("k", 32))}}
	var rows []string
	for i := range 50 {
		sum := sha256.Sum256([]byte{byte(i)})
		rows = append(rows, fmt.Sprintf(`[{"s":"%x"},{"s":"code%02d"},{"v":"%d","lo":"0","hi":"999"}]`, sum[:16], i, i))
	}
	slices.Sort(rows)
	stored := `{"v":1,"mode":"dp","rho":5,"derived":false,"source":"","columns":[{"name":"","kind":"key","func":"","type":"text","scale":0},{"name":"","kind":"key","func":"","type":"text","scale":0},{"name":"","kind":"estimate","func":"count","type":"int","scale":0}],"rows":[` + strings.Join(rows, ",") + `]}`
	stored = strings.Replace(stored, `"func":"count"`, `"func":"`+string(algebra.CountRows)+`"`, 1)
	rel, err := release.Load([]byte(stored), sha256.Sum256([]byte(stored)))
	if err != nil {
		t.Fatal(err)
	}
	text := algebra.Type{Kind: algebra.Text}
	from := func(dataset string, keys ...int) state.Job {
		core := &algebra.Core{Tables: []algebra.Table{{Dataset: dataset}}, Keys: []algebra.Col{{Name: "p", Type: text}, {Name: "c", Type: text}}}
		return state.Job{Reserved: &entry.Reserved{Request: entry.Request{Core: core}, Pseudonyms: keys}}
	}
	shown := func(licence, purpose string, from state.Job) (pseudonyms, codes []string) {
		x, err := d.rekeyed(rel, state.Job{Request: entry.Request{Licence: licence, Purpose: purpose}}, from)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range x.Rows() {
			pseudonyms, codes = append(pseudonyms, row[0].Value), append(codes, row[1].Value)
		}
		return pseudonyms, codes
	}
	bare, order := shown("l1", "plan", from("visits"))
	sets := map[string][]string{"stored": bare}
	orders := map[string][]string{"stored": order}
	for _, c := range [][3]string{{"l1", "plan", "visits"}, {"l2", "plan", "visits"}, {"l1", "trade", "visits"}, {"l1", "plan", "other"}} {
		name := strings.Join(c[:], "/")
		sets[name], orders[name] = shown(c[0], c[1], from(c[2], 0))
		if again, _ := shown(c[0], c[1], from(c[2], 0)); !slices.Equal(again, sets[name]) {
			t.Errorf("%s is given other pseudonyms the second time", name)
		}
		if !slices.IsSorted(sets[name]) {
			t.Errorf("%s: rows stand in an order that is not their own", name)
		}
		sorted := slices.Sorted(slices.Values(orders[name]))
		if !slices.Equal(sorted, slices.Sorted(slices.Values(order))) {
			t.Errorf("%s: another key was changed", name)
		}
	}
	for a := range sets {
		for b := range sets {
			if a >= b {
				continue
			}
			if slices.ContainsFunc(sets[a], func(v string) bool { return slices.Contains(sets[b], v) }) {
				t.Errorf("%s and %s share a pseudonym", a, b)
			}
			if slices.Equal(orders[a], orders[b]) {
				t.Errorf("%s and %s share the order of rows", a, b)
			}
		}
	}
	// Control: what is not recorded as a pseudonym is joined by its values at once.
	if x, _ := shown("l2", "plan", from("visits")); !slices.Equal(x, bare) {
		t.Error("control: a release without pseudonyms differs between agreements")
	}
}
