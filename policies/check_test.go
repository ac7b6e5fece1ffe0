package policies

import (
	"strings"
	"testing"
)

// Every rule of check.go: one change of a document that otherwise applies, and
// what the refusal says; "" means that the change is allowed.
func TestR15R16R17R18R19_DocumentRules(t *testing.T) {
	const (
		registry, catalogue, grading, masking, disclosure, licence = 0, 1, 2, 3, 4, 5
	)
	people := "- {name: fee,"
	for _, c := range []struct {
		doc      int
		name     string
		from, to string
		want     string
	}{
		{registry, "untouched", "规划", "规划", ""},
		{registry, "bad id", "{id: dept,", "{id: Dept,", "not an id"},
		{registry, "id too long", "{id: dept,", "{id: d" + strings.Repeat("x", 63) + ",", "not an id"},
		{registry, "the gateway's own name", "{id: other,", "{id: gateway,", "names the gateway itself"},
		{registry, "twice", "{id: other,", "{id: dept,", "stands twice"},
		{registry, "unknown role", "role: department", "role: boss", "unknown role"},
		{registry, "no key", `key: "@KEY:dept"`, `key: ""`, "not a base64 Ed25519"},
		{registry, "short key", `key: "@KEY:dept"`, `key: "AAAA"`, "not a base64 Ed25519"},
		{registry, "second regulator", "role: department", "role: regulator", "and no other"},
		{registry, "regulator's key replaced", "@KEY:bureau", "@KEY:dept", "and no other"},
		{registry, "regulator demoted", "role: regulator", "role: operator", "and no other"},
		{registry, "regulator missing", "  - {id: bureau, role: regulator, title: {zh: 局}, key: \"@KEY:bureau\"}\n", "", "is missing"},
		{registry, "purpose bad id", "{id: plan,", "{id: Plan!,", "not an id"},
		{registry, "purpose twice", "{id: trade,", "{id: plan,", "stands twice"},
		{registry, "fee class", "fee: industry", "fee: free", "unknown fee class"},
		{registry, "welfare", "fee: industry", "fee: welfare", ""},

		{catalogue, "untouched", "人口", "人口", ""},
		{catalogue, "bad id", "id: people", "id: \"people;\"", "not an id"},
		{catalogue, "same id twice", "id: firms", "id: people", "stands twice"},
		{catalogue, "no title", "title: {zh: 人口}", "title: {en: People}", "title.zh"},
		{catalogue, "neither unit nor public", "    public: true\n", "", "exactly one of unit and public"},
		{catalogue, "both unit and public", "    public: true\n", "    public: true\n    unit: {column: area, kind: record}\n", "exactly one of unit and public"},
		{catalogue, "negative bad rows", "max_percent: 0.5", "max_percent: -1", "0…50"},
		{catalogue, "most rows bad", "max_percent: 0.5", "max_percent: 50.1", "0…50"},
		{catalogue, "bad rows NaN", "max_percent: 0.5", "max_percent: .nan", "0…50"},
		{catalogue, "bad rows infinite", "max_percent: 0.5", "max_percent: .inf", "0…50"},
		{catalogue, "half the rows bad", "max_percent: 0.5", "max_percent: 50", ""},
		{catalogue, "column twice", "name: phone", "name: fee", "stands twice"},
		{catalogue, "column twice by case", "name: phone", "name: FEE", "stands twice"},
		{catalogue, "column name", "name: fee,", "name: \"fee\\\" --\",", "must start with a letter"},
		{catalogue, "Chinese column name", "name: fee,", "name: 费用,", ""},
		{catalogue, "no columns", "    columns:\n      - {name: area, title: {zh: 区}, type: text}\n", "    columns: []\n", "no columns"},
		{catalogue, "unit is no column", "column: id_number", "column: nobody", "is not a column"},
		{catalogue, "unit by other case", "column: id_number", "column: ID_NUMBER", "is not a column"},
		{catalogue, "unit nullable", "type: text, identifier: citizen_id", "type: text, nullable: true, identifier: citizen_id", "must be text and not nullable"},
		{catalogue, "unit not text", "type: text, identifier: citizen_id", "type: int, identifier: citizen_id", "must be text and not nullable"},
		{catalogue, "unit kind", "kind: person", "kind: family", "unknown unit kind"},
		{catalogue, "person without citizen number", "identifier: citizen_id", "identifier: opaque", "keyed by identifier citizen_id"},
		{catalogue, "organisation without credit code", "identifier: credit_code", "identifier: opaque", "keyed by identifier credit_code"},
		{catalogue, "person declared a record", "kind: person", "kind: record", "not a record"},
		{catalogue, "record with its own number", "unit: {column: code, kind: organisation}", "unit: {column: trade, kind: record}", ""},
		{catalogue, "unique beside a unit", "one_row_per_unit: true", "unique: [trade]", "public tables only"},
		{catalogue, "unique is no column", "unique: [area]", "unique: [zone]", "unique key"},
		{catalogue, "unique nullable", "{name: area, title: {zh: 区}, type: text}", "{name: area, title: {zh: 区}, type: text, nullable: true}", "unique key"},
		{catalogue, "public with citizen number", "{name: area, title: {zh: 区}, type: text}", "{name: area, title: {zh: 区}, type: text, identifier: citizen_id}", "is not public"},
		{catalogue, "column without title", "{zh: 费用}", "{en: fee}", "title.zh"},
		{catalogue, "column type", "type: decimal", "type: double", "unknown type"},
		{catalogue, "scale", "scale: 2", "scale: 7", "at most 6"},
		{catalogue, "scale of int", "type: int,", "type: int, scale: 2,", "scale is for decimal"},
		{catalogue, "bounds crossed", `lo: "0", hi: "500.00"`, `lo: "501", hi: "500.00"`, "above"},
		{catalogue, "bounds finer than scale", `hi: "500.00"`, `hi: "500.001"`, "decimals"},
		{catalogue, "bounds beyond 2^53", `hi: "500.00"`, `hi: "90071992547410.00"`, "2^53"},
		{catalogue, "bounds of text", "type: text, identifier: phone", `type: text, identifier: phone, bounds: {lo: "a", hi: "b"}`, "takes no bounds"},
		{catalogue, "date bounds", `hi: "2025-12-31"`, `hi: "2025-13-31"`, "not a date"},
		{catalogue, "code twice", "{value: a}, {value: b}", "{value: b}, {value: b}", "stands twice"},
		{catalogue, "other not in list", "other: b", "other: c", "not in the code list"},
		{catalogue, "codes of a decimal", people + " title: {zh: 费用}, type: decimal,", people + " title: {zh: 费用}, type: decimal, codes: [{value: \"1\"}],", "takes no code list"},
		{catalogue, "code not of the type", `{value: "9"}`, `{value: nine}`, "code list"},
		{catalogue, "code outside bounds", `{value: "9"}`, `{value: "10"}`, "outside the bounds"},
		{catalogue, "identifier kind", "identifier: phone", "identifier: telephone", "unknown identifier kind"},
		{catalogue, "department not registered", "department: dept", "department: nobody", "not in the registry"},
		{catalogue, "operator as department", "department: dept", "department: op", "not in the registry"},
		{catalogue, "another department", "department: dept", "department: other", `signature of department "other" is missing`},

		{grading, "untouched", "scheme", "scheme", ""},
		{grading, "scheme", "43697-2024", "43697-2025", "unknown grading scheme"},
		{grading, "unknown column", "phone: 3", "phone_number: 3", "unknown column"},
		{grading, "extra column", "phone: 3", "phone: 3, ghost: 1", "unknown column"},
		{grading, "column without level", "phone: 3, ", "", `column "phone" has no level`},
		{grading, "level 0", "phone: 3", "phone: 0", `level "0" is not a level of scheme "GB/T 43697-2024", which has 1, 2, 3, 4, 5, 6`},
		{grading, "level 7", "phone: 3", "phone: 7", `level "7" is not a level of scheme`},
		{grading, "level 6", "phone: 3", "phone: 6", ""},
		{grading, "level in letters", "phone: 3", "phone: three", `level "three" is not a level of scheme`},
		{grading, "unknown data set", "people:", "persons:", "not in the catalogue"},

		{masking, "untouched", "masks", "masks", ""},
		{masking, "unknown column", "phone:", "telephone:", "unknown column"},
		{masking, "unknown operator", "{op: drop}", "{op: rot13}", "unknown mask"},
		{masking, "no operator", "{op: drop}", "{}", "unknown mask"},
		{masking, "digits of year", "{op: year}", "{op: year, digits: 4}", "takes no digits"},
		{masking, "year of text", "phone: {op: drop}", "phone: {op: year}", "needs a date"},
		{masking, "unit kept", "id_number: {op: pseudonym}", "id_number: {op: keep}", "can only be drop or pseudonym"},
		{masking, "unit shown in part", "id_number: {op: pseudonym}", "id_number: {op: id}", "can only be drop or pseudonym"},
		{masking, "unit dropped", "id_number: {op: pseudonym}", "id_number: {op: drop}", ""},
		{masking, "unit not named", "id_number: {op: pseudonym}, ", "", ""},
		{masking, "identifier without mask", "phone: {op: drop}, ", "", "has no mask"},
		{masking, "identifier kept", "phone: {op: drop}", "phone: {op: keep}", "has no mask"},
		{masking, "identifier strengthened", "phone: {op: drop}", "phone: {op: phone}", ""},
		// Declared meaning counts, not the sound of a name: diagnosis_name is no
		// name, and nothing masks or exempts it because of its spelling.
		{masking, "diagnosis_name masked as what it is", "phone:", "diagnosis_name: {op: constant, value: a}, phone:", ""},

		{disclosure, "untouched", "max_rows", "max_rows", ""},
		{disclosure, "unknown column", "fee: [measure]", "fees: [measure]", "unknown column"},
		{disclosure, "unknown use", "born: [filter]", "born: [display]", "unknown use"},
		{disclosure, "measure of text", "diagnosis_name: [key, filter]", "diagnosis_name: [key, measure]", "a measure needs"},
		{disclosure, "identifier used", "visits: [key]", "phone: [filter]", "cannot be used in queries"},
		{disclosure, "unit used", "visits: [key]", "id_number: [filter]", "cannot be used in queries"},
		{disclosure, "private key not a key", "private_keys: [diagnosis_name]", "private_keys: [born]", "not a column with use key"},
		{disclosure, "unknown purpose", "purposes: [plan]\n    uses: {diag", "purposes: [fun]\n    uses: {diag", "not in the registry"},
		{disclosure, "wait", "wait: published", "wait: never", "unknown wait"},
		{disclosure, "wait witnessed", "wait: published", "wait: witnessed", ""},
		{disclosure, "wait durable", "wait: published", "wait: durable", ""},
		{disclosure, "public with mode", "  areas:\n", "  areas:\n    mode: dp\n", "takes purposes and uses only"},
		{disclosure, "public with bound", "  areas:\n", "  areas:\n    max_rows: 1\n", "takes purposes and uses only"},
		{disclosure, "mode missing", "    mode: dp\n", "", "unknown mode"},
		{disclosure, "mode unknown", "mode: dp", "mode: open", "unknown mode"},
		{disclosure, "persons exactly", "mode: dp", "mode: exact", "personal data takes dp"},
		{disclosure, "no bound", "    max_rows: 4\n", "", "1…1000"},
		{disclosure, "bound too wide", "max_rows: 4", "max_rows: 1001", "1…1000"},
		{disclosure, "bound negative", "max_rows: 4", "max_rows: -4", "1…1000"},
		{disclosure, "bound beside one row", "    exact: {k", "    max_rows: 2\n    exact: {k", "must be 1 or absent"},
		{disclosure, "exact rule beside dp", "    wait: published", "    exact: {k: 10, round: 5}", "beside mode dp"},
		{disclosure, "exact without rule", "    exact: {k: 10, round: 5}\n", "", "k ≥ 10"},
		{disclosure, "k of 9", "k: 10", "k: 9", "k ≥ 10"},
		{disclosure, "k past what can be checked", "k: 10", "k: 101", "k at most 100"},
		{disclosure, "dominance loosened", "k: 10,", "k: 10, top1: 51,", "only be made stricter"},
		{disclosure, "dominance upside down", "k: 10,", "k: 10, top1: 40, top2: 30,", "only be made stricter"},
		{disclosure, "dominance tightened", "k: 10,", "k: 10, top1: 40, top2: 70, p_percent: 20, dof: 12,", ""},
		{disclosure, "p loosened", "k: 10,", "k: 10, p_percent: 9,", "only be made stricter"},
		{disclosure, "dof loosened", "k: 10,", "k: 10, dof: 9,", "only be made stricter"},
		{disclosure, "cap not a number", "k: 10,", "k: 10, bits_per_unit: lots,", "bits_per_unit"},
		{disclosure, "cap of nothing", "k: 10,", "k: 10, bits_per_unit: \"0\",", "bits_per_unit"},
		{disclosure, "cap without end", "k: 10,", "k: 10, bits_per_unit: \"16.1\",", "bits_per_unit"},
		{disclosure, "cap lowered", "k: 10,", "k: 10, bits_per_unit: \"0.05\",", ""},
		{disclosure, "structural zero of no key", "k: 10,", "k: 10, structural_zeros: [{code: x}],", "not a column with use key"},
		{disclosure, "structural zero of nothing", "k: 10,", "k: 10, structural_zeros: [{}],", "empty entry"},
		{disclosure, "structural zero", "k: 10,", "k: 10, structural_zeros: [{trade: a}], merge_other: true,", ""},
		{disclosure, "no rounding", "round: 5", "round: 1", "round ≥ 2"},
		{disclosure, "private keys in exact", "    exact: {k", "    private_keys: [trade]\n    exact: {k", "takes no private keys"},
		{disclosure, "budget not a number", `query: "0.001"`, `query: "1e-3"`, "not a positive ρ"},
		{disclosure, "budget zero", `lifetime: "0.05"`, `lifetime: "0"`, "not a positive ρ"},
		{disclosure, "budget negative", `lifetime: "0.05"`, `lifetime: "-1"`, "not a positive ρ"},
		{disclosure, "default above the most", `query: "0.001"`, `query: "0.003"`, "above budget.query_max"},
		{disclosure, "default equals the most", `query: "0.001"`, `query: "0.002"`, ""},

		{licence, "untouched", "场景", "场景", ""},
		{licence, "bad id", "id: l1", "id: L1", "not an id"},
		{licence, "unknown operator", "operator: op", "operator: nobody", "not in the registry"},
		{licence, "department as operator", "operator: op", "operator: dept", "not in the registry"},
		{licence, "R38 operator abroad", "operator: op", "operator: foreign", "outside the border"},
		{licence, "R06 no beginning", "not_before: 2026-01-01T00:00:00+08:00\n", "", "at most 5 years"},
		{licence, "R06 no end", "not_after: 2031-01-01T00:00:00+08:00\n", "", "at most 5 years"},
		{licence, "R06 five years and a second", "2031-01-01T00:00:00+08:00", "2031-01-01T00:00:01+08:00", "at most 5 years"},
		{licence, "R06 ends before it begins", "2031-01-01T00:00:00+08:00", "2025-01-01T00:00:00+08:00", "at most 5 years"},
		{licence, "R06 empty term", "2031-01-01T00:00:00+08:00", "2026-01-01T00:00:00+08:00", "at most 5 years"},
		{licence, "R06 one year", "2031-01-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00", ""},
		{licence, "no scenario", "scenario: {zh: 场景}\n", "", "must be stated in Chinese"},
		{licence, "no security terms", "security_terms: {zh: 安全}", "security_terms: {en: safe}", "must be stated in Chinese"},
		{licence, "no exit terms", "exit_terms: {zh: 退出}\n", "", "must be stated in Chinese"},
		{licence, "no purposes", "purposes: [plan]", "purposes: []", "must not be empty"},
		{licence, "no resources", "resources:\n  - {dataset: people, columns: [diagnosis_name, born, fee, visits]}\n", "resources: []\n", "must not be empty"},
		{licence, "unknown purpose", "purposes: [plan]", "purposes: [fun]", "not in the registry"},
		{licence, "R11 not in the catalogue", "dataset: people", "dataset: ghosts", "not in the catalogue"},
		{licence, "data set twice", "security_terms", "  - {dataset: people, columns: [fee]}\nsecurity_terms", "stands twice"},
		{licence, "unknown column", "born, fee", "born, salary", "unknown column"},
	} {
		step := townSteps[c.doc]
		t.Run(step.name+"/"+c.name, func(t *testing.T) {
			b := town(t, step.name)
			text := edited(t, step.text, c.from, c.to)
			if c.want == "" {
				apply(t, b, text, step.signers...)
				return
			}
			if got := refused(t, b, text, step.signers...); !strings.Contains(got, c.want) {
				t.Errorf("refused with %q; want %q", got, c.want)
			}
		})
	}
}

// A level drives protection: at 5 and 6 no query may use the column, whether the
// grade was there first or came after the rule.
func TestR16_ALevelDrivesTheRule(t *testing.T) {
	b := town(t, "grading")
	raised := edited(t, townGrading, "visits: 2", "visits: 5")
	b = apply(t, b, raised, "dept")
	b = apply(t, b, townMasking, "dept")
	if got := refused(t, b, townDisclosure, "dept"); !strings.Contains(got, "graded 5") {
		t.Error(got)
	}

	b = town(t, "licence")
	if e, _ := b.Dataset("people"); e.Ready() != nil || e.Level() != 4 {
		t.Fatalf("level %d, %v", e.Level(), e.Ready())
	}
	b = apply(t, b, raised, "dept")
	e, _ := b.Dataset("people")
	if x := e.Ready(); x == nil || e.Level() != 5 {
		t.Errorf("raised to level %d, the rule in force still lets queries use it", e.Level())
	}
	if f, _ := b.Dataset("firms"); f.Ready() != nil {
		t.Error("a data set whose grades did not change lost its rule")
	}
	b = apply(t, b, edited(t, townDisclosure, ", visits: [key]", ""), "dept")
	if e, _ := b.Dataset("people"); e.Ready() != nil {
		t.Error(e.Ready())
	}
}

// A mask that makes a use impossible takes the rule out of force too.
func TestR20_AMaskChangesWhatMayBeUsed(t *testing.T) {
	b := apply(t, town(t, "licence"), edited(t, townMasking, "born: {op: year}", "born: {op: year}, fee: {op: drop}"), "dept")
	if e, _ := b.Dataset("people"); e.Ready() == nil || e.Rule != nil {
		t.Error("a rule in force measures a column that is not stored any more")
	}
	b = apply(t, town(t, "licence"), edited(t, townMasking, "{op: year}", "{op: month}"), "dept")
	if e, _ := b.Dataset("people"); e.Ready() != nil {
		t.Error("a harmless change of masks took the rule away")
	}
}

// A changed catalogue re-grades at once: nothing runs until every document was
// applied again, in the order grading, masking, rule.
func TestR16_AChangedCatalogueStartsOver(t *testing.T) {
	b := apply(t, town(t, ""), edited(t, townCatalogue, "title: {zh: 电话}", "title: {zh: 手机}"), "dept")
	for _, want := range []string{"Grading", "Masking", "Disclosure"} {
		e, _ := b.Dataset("people")
		x := e.Ready()
		if x == nil || x.Code != "DATASET_NOT_READY" || !strings.Contains(x.EN, want) {
			t.Fatalf("%v; want %s", x, want)
		}
		text := map[string]string{"Grading": townGrading, "Masking": townMasking, "Disclosure": townDisclosure}[want]
		if want != "Disclosure" {
			if got := refused(t, b, townDisclosure+"# early\n", "dept"); !strings.Contains(got, want) {
				t.Errorf("rule without %s: %s", want, got)
			}
		}
		b = apply(t, b, text+"# again\n", "dept")
	}
	if e, _ := b.Dataset("people"); e.Ready() != nil {
		t.Error(e.Ready())
	}
	if got := refused(t, town(t, "disclosure"), strings.Replace(townDisclosure, "  firms", "  ghosts", 1), "dept"); !strings.Contains(got, "not in the catalogue") {
		t.Error(got)
	}
}
