package protect

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// entryUnder puts a data set with the given columns, masks and rule in force and
// returns its entry.
func entryUnder(t *testing.T, columns, masks, rule string) policies.Entry {
	t.Helper()
	keyOf := func(party string) ed25519.PrivateKey {
		seed := sha256.Sum256([]byte(party))
		return ed25519.NewKeyFromSeed(seed[:])
	}
	pub := func(party string) string {
		return base64.StdEncoding.EncodeToString(keyOf(party).Public().(ed25519.PublicKey))
	}
	levels := ""
	for _, line := range strings.Split(strings.TrimSpace(columns), "\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "- {name: "), ",")
		levels += ", " + name + ": 2"
	}
	one := ""
	if strings.Contains(rule, "mode: exact") {
		one = "    one_row_per_unit: true\n"
	}
	b := policies.NewBook("bureau", keyOf("bureau").Public().(ed25519.PublicKey))
	for _, bundle := range []string{
		"kind: Registry\nparties:\n  - {id: bureau, role: regulator, key: \"" + pub("bureau") + "\"}\n  - {id: dept, role: department, key: \"" + pub("dept") + "\"}\npurposes: [{id: plan, fee: governance}]\n",
		"kind: Catalogue\ndepartment: dept\ndatasets:\n  - id: d\n    title: {zh: 表}\n    unit: {column: unit, kind: record}\n" + one + "    columns:\n      - {name: unit, title: {zh: 号}, type: text, identifier: opaque}\n" + columns +
			"---\nkind: Grading\ndepartment: dept\nscheme: GB/T 43697-2024\nlevels: {d: {unit: 4" + levels + "}}\n" +
			"---\nkind: Masking\ndepartment: dept\nmasks: {d: {" + masks + "}}\n" +
			"---\nkind: Disclosure\ndepartment: dept\ndatasets:\n  d:\n    purposes: [plan]\n" + rule,
	} {
		party := "bureau"
		if strings.HasPrefix(bundle, "kind: Catalogue") {
			party = "dept"
		}
		env, err := policies.Sign(nil, []byte(bundle), party, keyOf(party))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		if b, _, err = b.Apply(raw, time.Unix(1_780_000_000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	e, _ := b.Dataset("d")
	if x := e.Ready(); x != nil {
		t.Fatal(x)
	}
	return e
}

func shown(values []algebra.Value) string {
	var out []string
	for _, v := range values {
		switch v.Type.Kind {
		case algebra.Text:
			out = append(out, v.S)
		case algebra.Date:
			out = append(out, algebra.FormatDate(v.I))
		default:
			out = append(out, fmt.Sprint(v.I))
		}
	}
	return strings.Join(out, " ")
}

// What a plan may rest on after each mask: the type, whether NULL can occur, the
// bounds, and the code list that is public without looking at data.
func TestR20_FactsFollowTheMask(t *testing.T) {
	e := entryUnder(t, `      - {name: area, title: {zh: 区}, type: text, codes: [{value: "239902"}, {value: "239903"}, {value: "230101"}]}
      - {name: area4, title: {zh: 区}, type: text, codes: [{value: "239902"}, {value: "239903"}, {value: "230101"}, {value: 无}]}
      - {name: secret, title: {zh: 密}, type: text, codes: [{value: a}]}
      - {name: fixed, title: {zh: 定}, type: text, codes: [{value: a}, {value: b}]}
      - {name: blank, title: {zh: 空}, type: int, bounds: {lo: "1", hi: "3"}}
      - {name: born, title: {zh: 生}, type: date, bounds: {lo: "2020-05-06", hi: "2023-01-01"}}
      - {name: month, title: {zh: 月}, type: date, nullable: true, bounds: {lo: "2024-11-15", hi: "2025-02-01"}}
      - {name: long, title: {zh: 长}, type: date, bounds: {lo: "1900-01-01", hi: "2025-02-01"}}
      - {name: day, title: {zh: 日}, type: date, bounds: {lo: "2024-11-15", hi: "2024-11-16"}}
      - {name: small, title: {zh: 小}, type: int, bounds: {lo: "-2", hi: "2"}}
      - {name: large, title: {zh: 大}, type: int, bounds: {lo: "0", hi: "1000"}}
      - {name: edge, title: {zh: 界}, type: int, bounds: {lo: "1", hi: "1000"}}
      - {name: graded, title: {zh: 级}, type: int, bounds: {lo: "0", hi: "9"}, codes: [{value: "9"}, {value: "1"}]}
      - {name: fee, title: {zh: 费}, type: decimal, scale: 2, bounds: {lo: "-1.00", hi: "5.00"}}
      - {name: yes, title: {zh: 是}, type: bool}
      - {name: free, title: {zh: 文}, type: text}
      - {name: gone, title: {zh: 去}, type: text}
`, `area4: {op: area, digits: 4}, secret: {op: pseudonym}, fixed: {op: constant, value: z}, blank: {op: "null"}, born: {op: year}, month: {op: month}, long: {op: month}, gone: {op: drop}`,
		"    mode: dp\n    max_rows: 3\n    uses: {secret: [key], fee: [measure]}\n    private_keys: [secret]\n    budget: {query: \"0.001\", query_max: \"0.002\"}\n")
	f, err := FactsOf(e)
	if err != nil {
		t.Fatal(err)
	}
	if f.Mode != ModeDP || f.MaxRows != 3 || f.OneRow || f.Public || f.K != 10 || f.QueryRho != 1_000_000 || f.QueryMaxRho != 2_000_000 || f.Department != "dept" {
		t.Errorf("%+v", f)
	}
	for name, want := range map[string]struct {
		kind     algebra.Kind
		nullable bool
		bounds   *Range
		codes    string
	}{
		"area":   {algebra.Text, false, nil, "230101 239902 239903"},
		"area4":  {algebra.Text, true, nil, "2301 2399"},
		"secret": {algebra.Text, false, nil, ""},
		"fixed":  {algebra.Text, false, nil, "z"},
		"blank":  {algebra.Int, true, nil, ""},
		"born":   {algebra.Int, false, &Range{2020, 2023}, "2020 2021 2022 2023"},
		"month":  {algebra.Date, true, &Range{20028, 20120}, "2024-11-01 2024-12-01 2025-01-01 2025-02-01"},
		"long":   {algebra.Date, false, &Range{-25567, 20120}, ""},
		"day":    {algebra.Date, false, &Range{20042, 20043}, ""},
		"small":  {algebra.Int, false, &Range{-2, 2}, "-2 -1 0 1 2"},
		"large":  {algebra.Int, false, &Range{0, 1000}, ""},
		"edge":   {algebra.Int, false, &Range{1, 1000}, "1000 values"},
		"graded": {algebra.Int, false, &Range{0, 9}, "1 9"},
		"fee":    {algebra.Decimal, false, &Range{-100, 500}, ""},
		"yes":    {algebra.Bool, false, nil, "0 1"},
		"free":   {algebra.Text, false, nil, ""},
	} {
		c, ok := f.Columns[name]
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		got := shown(c.Codes)
		if len(c.Codes) > 100 {
			got = fmt.Sprint(len(c.Codes), " values")
		}
		if c.Type.Kind != want.kind || c.Nullable != want.nullable || got != want.codes || (c.Bounds == nil) != (want.bounds == nil) || c.Bounds != nil && (*c.Bounds != *want.bounds || *c.Stored != *want.bounds) {
			t.Errorf("%s: %+v, codes %s", name, c, got)
		}
		if c.Private != (name == "secret") {
			t.Errorf("%s: private %v", name, c.Private)
		}
		if !slices.IsSortedFunc(c.Codes, CompareValues) {
			t.Errorf("%s: codes are not in order", name)
		}
	}
	for _, name := range []string{"unit", "gone"} {
		if _, ok := f.Columns[name]; ok {
			t.Errorf("%s is not stored and is a fact", name)
		}
	}
}

func TestFactsOfOneRowAndExact(t *testing.T) {
	e := entryUnder(t, "      - {name: a, title: {zh: 甲}, type: text, codes: [{value: x}]}\n", "", "    mode: exact\n    uses: {a: [key]}\n    exact: {k: 12, round: 5, top1: 40, bits_per_unit: \"0.05\"}\n")
	f, err := FactsOf(e)
	if err != nil || f.Mode != ModeExact || f.K != 12 || f.Round != 5 || f.Exact.Top1 != 40 || f.Exact.Top2 != 90 || f.Exact.P != 10 || f.Exact.Dof != 10 || f.Exact.NanoBits != 50_000_000 {
		t.Errorf("%+v %v", f, err)
	}
	if err != nil || f.MaxRows != 1 || !f.OneRow {
		t.Errorf("%+v %v", f, err)
	}
}
