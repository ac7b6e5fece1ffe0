package analyse_test

import (
	"fmt"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
)

// TestR01_AcceptedAndRefused: every query of the table gets the wanted answer
// at the wanted place, and what is accepted means something on the schemas.
func TestR01_AcceptedAndRefused(t *testing.T) {
	cases, trees, schemas := readCases(t), readTrees(t), readSchemas(t)
	if len(cases) < 100 {
		t.Fatalf("only %d cases were read", len(cases))
	}
	for _, c := range cases {
		q, r := analyse.Decode(trees[c.sql], c.sql, schemas, nil)
		code, place := "OK", ""
		if r != nil {
			code = r.Code
			if r.Line > 0 {
				place = fmt.Sprintf("%d:%d", r.Line, r.Column)
			}
		} else if err := algebra.Canonicalise(q).Core.Validate(schemas); err != nil {
			t.Errorf("%s\n\taccepted, but %v", c.sql, err)
		}
		if code != c.code || place != c.place {
			t.Errorf("%s\n\tgot %s %s, want %s %s", c.sql, code, place, c.code, c.place)
		}
	}
}
