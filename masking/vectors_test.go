package masking

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// vectors reads a vector file strictly: exactly the header given, every row as
// wide as it, at least one row.
func vectors(t *testing.T, name string, header ...string) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = len(header)
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 2 || !slices.Equal(rows[0], header) {
		t.Fatalf("%s: header %q, want %q and rows below it", name, rows[0], header)
	}
	return rows[1:]
}

func TestR18_IdentifierVectors(t *testing.T) {
	checks := map[string]func(string) Validity{
		"citizen_id": CitizenID, "credit_code": CreditCode, "phone": Phone, "bank_card": BankCard,
	}
	wants := map[string]Validity{"malformed": Malformed, "check_failed": CheckFailed, "ok": OK}
	seen := map[string]int{}
	for _, row := range vectors(t, "identifiers.csv", "kind", "value", "want", "source") {
		check, known := checks[row[0]]
		want, knownWant := wants[row[2]]
		if !known || !knownWant {
			t.Fatalf("unknown kind or result in %q", row)
		}
		seen[row[0]]++
		if got := check(row[1]); got != want || got.String() != row[2] {
			t.Errorf("%s %q = %v, want %v (%s)", row[0], row[1], got, want, row[3])
		}
	}
	if len(seen) != len(checks) {
		t.Errorf("vectors cover %v only", seen)
	}
}

func TestNormaliseVectors(t *testing.T) {
	for _, row := range vectors(t, "normalise.csv", "kind", "in", "out", "accepted") {
		var out string
		var ok bool
		switch row[0] {
		case "citizen_id":
			out, ok = NormaliseCitizenID(row[1])
		case "phone":
			out, ok = NormalisePhone(row[1])
		default:
			t.Fatalf("unknown kind in %q", row)
		}
		want, err := strconv.ParseBool(row[3])
		if err != nil {
			t.Fatal(err)
		}
		if out != row[2] || ok != want {
			t.Errorf("%s %q = %q, %v; want %q, %v", row[0], row[1], out, ok, row[2], want)
		}
	}
}

func TestMaskVectors(t *testing.T) {
	for _, row := range vectors(t, "masks.csv", "op", "type", "digits", "value", "in", "out", "null") {
		n, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		wantNull, err := strconv.ParseBool(row[6])
		if err != nil {
			t.Fatal(err)
		}
		op, err := New(row[0], Params{Digits: n, Value: row[3], Type: algebra.Type{Kind: algebra.Kind(row[1])}})
		if err != nil {
			t.Errorf("New(%q): %v", row[0], err)
			continue
		}
		if out, null := op.Apply(row[4]); out != row[5] || null != wantNull {
			t.Errorf("%s(%q) = %q, %v; want %q, %v", row[0], row[4], out, null, row[5], wantNull)
		}
	}
}
