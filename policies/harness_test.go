package policies

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// applied is when the tests put bundles in force.
var applied = time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC)

// keyOf is a party's key in the tests, derived from its name.
func keyOf(party string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(party))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicOf(party string) ed25519.PublicKey { return keyOf(party).Public().(ed25519.PublicKey) }

var keyMark = regexp.MustCompile(`@KEY:([a-z_]+)`)

// withKeys puts the tests' keys where the demo puts generated ones.
func withKeys(text string) string {
	return keyMark.ReplaceAllStringFunc(text, func(m string) string {
		return base64.StdEncoding.EncodeToString(publicOf(keyMark.FindStringSubmatch(m)[1]))
	})
}

func load(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", path))
	if err != nil {
		t.Fatal(err)
	}
	return withKeys(string(text))
}

// chifeng is the shipped profile without the deadline of feedback, which has tests
// of its own and would stand among the duties of every other.
func chifeng(t testing.TB) string {
	t.Helper()
	text := load(t, "profiles/chifeng.yaml")
	short := strings.Replace(text, "usage_report: 15\n", "", 1)
	if short == text {
		t.Fatal("the profile gives feedback no deadline")
	}
	return short
}

func signed(t testing.TB, text string, parties ...string) []byte {
	t.Helper()
	var env *dsse.Envelope
	for _, p := range parties {
		var err error
		if env, err = Sign(env, []byte(text), p, keyOf(p)); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func apply(t testing.TB, b *Book, text string, parties ...string) *Book {
	t.Helper()
	next, _, err := b.Apply(signed(t, text, parties...), applied)
	if err != nil {
		t.Fatalf("bundle of %v: %v", parties, err)
	}
	return next
}

// refused applies a bundle that must be refused and returns why. The book must
// not have changed.
func refused(t testing.TB, b *Book, text string, parties ...string) string {
	t.Helper()
	before := picture(t, b)
	next, docs, err := b.Apply(signed(t, text, parties...), applied)
	if err == nil {
		t.Fatalf("accepted:\n%s", text)
	}
	if next != nil || docs != nil || picture(t, b) != before {
		t.Fatal("a refused bundle left something behind")
	}
	return err.Error()
}

// picture is everything a book holds, to compare two of them.
func picture(t testing.TB, b *Book) string {
	t.Helper()
	bundles := []string{}
	for d := range b.applied {
		bundles = append(bundles, base64.StdEncoding.EncodeToString(d[:]))
	}
	slices.Sort(bundles)
	var registrations []any
	for _, t := range b.Registrations() {
		registrations = append(registrations, t, b.registrations[t])
	}
	raw, err := json.Marshal([]any{b.root, b.rootKey, b.parties, b.purposes, b.datasets, b.licences, b.revoked, b.registered, b.agreed, b.orders, b.consents, len(b.ended), len(b.holds), bundles, fmt.Sprint(b.holds), fmt.Sprint(b.desk), fmt.Sprint(b.products, b.reviews, b.reviewRules, b.ceilings, b.tariffs), b.negative, registrations, b.registrationRequired, b.schemes})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

var cityDepartments = []string{"civil_affairs", "health", "housing_fund_centre", "hrss", "market_regulation", "natural_resources", "public_security"}

// city is the book of the whole fictional city, licences included.
func city(t testing.TB) *Book {
	t.Helper()
	b := apply(t, NewBook("data_bureau", publicOf("data_bureau")), load(t, "city/registry.yaml"), "data_bureau")
	for _, d := range cityDepartments {
		b = apply(t, b, load(t, "city/"+d+".yaml"), d)
	}
	for _, l := range []string{"alpha-2024", "alpha-2026", "beta-2026"} {
		b = apply(t, b, load(t, "city/licences/"+l+".yaml"), append([]string{"data_bureau"}, cityDepartments...)...)
	}
	return b
}

// The small town: one regulator, two departments, two operators, one table of
// persons, one of organisations, one public dimension.
const (
	townRegistry = `kind: Registry
parties:
  - {id: bureau, role: regulator, title: {zh: 局}, key: "@KEY:bureau"}
  - {id: dept, role: department, title: {zh: 甲}, key: "@KEY:dept"}
  - {id: other, role: department, title: {zh: 乙}, key: "@KEY:other"}
  - {id: op, role: operator, title: {zh: 丙}, key: "@KEY:op"}
  - {id: rival, role: operator, title: {zh: 丁}, key: "@KEY:rival"}
  - {id: foreign, role: operator, abroad: true, title: {zh: 戊}, key: "@KEY:foreign"}
purposes:
  - {id: plan, title: {zh: 规划}, fee: governance}
  - {id: trade, title: {zh: 产业}, fee: industry}
`
	townCatalogue = `kind: Catalogue
department: dept
datasets:
  - id: people
    title: {zh: 人口}
    unit: {column: id_number, kind: person}
    bad_rows: {max_percent: 0.5}
    columns:
      - {name: id_number, title: {zh: 号}, type: text, identifier: citizen_id}
      - {name: diagnosis_name, title: {zh: 病名}, type: text, codes: [{value: a}, {value: b}], other: b}
      - {name: phone, title: {zh: 电话}, type: text, identifier: phone}
      - {name: born, title: {zh: 生日}, type: date, bounds: {lo: "1900-01-01", hi: "2025-12-31"}}
      - {name: fee, title: {zh: 费用}, type: decimal, scale: 2, measure: 元, bounds: {lo: "0", hi: "500.00"}}
      - {name: visits, title: {zh: 次数}, type: int, bounds: {lo: "0", hi: "9"}, codes: [{value: "0"}, {value: "9"}]}
  - id: firms
    title: {zh: 企业}
    unit: {column: code, kind: organisation}
    one_row_per_unit: true
    columns:
      - {name: code, title: {zh: 代码}, type: text, identifier: credit_code}
      - {name: trade, title: {zh: 行业}, type: text, codes: [{value: A}]}
  - id: areas
    title: {zh: 区划}
    public: true
    unique: [area]
    columns:
      - {name: area, title: {zh: 区}, type: text}
`
	townGrading = `kind: Grading
department: dept
scheme: GB/T 43697-2024
levels:
  people: {id_number: 4, diagnosis_name: 4, phone: 3, born: 2, fee: 3, visits: 2}
  firms: {code: 2, trade: 1}
  areas: {area: 1}
`
	townMasking = `kind: Masking
department: dept
masks:
  people: {id_number: {op: pseudonym}, phone: {op: drop}, born: {op: year}}
  firms: {}
`
	townDisclosure = `kind: Disclosure
department: dept
datasets:
  people:
    mode: dp
    max_rows: 4
    purposes: [plan]
    uses: {diagnosis_name: [key, filter], born: [filter], fee: [measure], visits: [key]}
    private_keys: [diagnosis_name]
    budget: {query: "0.001", query_max: "0.002", operator_year: "0.01", dataset_year: "0.02", lifetime: "0.05"}
    wait: published
  firms:
    mode: exact
    purposes: [plan, trade]
    uses: {trade: [key]}
    exact: {k: 10, round: 5}
  areas:
    purposes: [plan]
    uses: {area: [key, join]}
`
	townLicence = `kind: Licence
id: l1
operator: op
title: {zh: 授权}
scenario: {zh: 场景}
purposes: [plan]
not_before: 2026-01-01T00:00:00+08:00
not_after: 2031-01-01T00:00:00+08:00
resources:
  - {dataset: people, columns: [diagnosis_name, born, fee, visits]}
security_terms: {zh: 安全}
exit_terms: {zh: 退出}
`
)

// townSteps are the town's bundles in the order they are applied.
var townSteps = []struct {
	name, text string
	signers    []string
}{
	{"registry", townRegistry, []string{"bureau"}},
	{"catalogue", townCatalogue, []string{"dept"}},
	{"grading", townGrading, []string{"dept"}},
	{"masking", townMasking, []string{"dept"}},
	{"disclosure", townDisclosure, []string{"dept"}},
	{"licence", townLicence, []string{"bureau", "dept"}},
}

// town applies the steps before the named one, and it too when name is "".
func town(t testing.TB, before string) *Book {
	t.Helper()
	b := NewBook("bureau", publicOf("bureau"))
	for _, s := range townSteps {
		if s.name == before {
			break
		}
		b = apply(t, b, withKeys(s.text), s.signers...)
	}
	return b
}

// edited returns a town document with one change, which must apply.
func edited(t testing.TB, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("the document holds no %q", from)
	}
	return withKeys(strings.Replace(text, from, to, 1))
}
