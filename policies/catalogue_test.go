package policies

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// described is the description of a data set in every field.
const described = `    abstract: {zh: 摘要}
    format: database
    provider: {name: {zh: 甲局}, code: 11230100002180000P}
    industry: S
    period: "2025"
    area: x
    update_frequency: 每日
    sharing: {class: conditional, condition: {zh: 须审核}, basis: 某法第三条}
    sharing_methods: [verify, query]
    opening: {class: none, basis: 某法第四条}
    operation: {status: planned, scenario: {zh: 规划}}
`

// describedTown is the town's catalogue with its first data set described.
func describedTown(t testing.TB) string {
	return edited(t, townCatalogue, "    unit: {column: id_number", described+"    unit: {column: id_number")
}

// whole appends to a catalogue the documents that a change of it voids.
func whole(catalogue string) string {
	return catalogue + "---\n" + townGrading + "---\n" + townMasking + "---\n" + townDisclosure
}

var townAsk = Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026}

func ask(b *Book) []string {
	r := townAsk
	r.Core = townCore()
	return codesOf(b.Decide(r))
}

// The digest of the town's data set before the catalogue could say more: snapshots
// made then must stay fresh.
const digestBefore = "d12c4986c1a61c5ab60781ea056d70f67010f258dd4c06acdab3d68f6b99d835"

func TestR15_DescriptionsMakeNoSnapshotStale(t *testing.T) {
	e, _ := town(t, "").Dataset("people")
	if got := e.SpecDigest(); got != digestBefore {
		t.Fatalf("the digest of an unchanged data set is now %s", got)
	}
	b := apply(t, town(t, ""), whole(describedTown(t)), "dept")
	if e, _ := b.Dataset("people"); e.SpecDigest() != digestBefore || e.Dataset.Provider.Code == "" {
		t.Error("a description makes the snapshot stale")
	}
	text := edited(t, describedTown(t), "type: text, identifier: phone", "type: text, identifier: phone, element: GB/T 1, element_type: n11, source: other, basis: 某法")
	b = apply(t, town(t, ""), whole(text), "dept", "other")
	if e, _ := b.Dataset("people"); e.SpecDigest() != digestBefore || e.SourceOf("phone") != "other" || e.SourceOf("fee") != "dept" {
		t.Error("a column's description makes the snapshot stale")
	}
}

func TestR15_DescriptionsAreChecked(t *testing.T) {
	b := town(t, "catalogue")
	apply(t, b, describedTown(t), "dept")
	for name, c := range map[string][3]string{
		"format":               {"format: database", "format: papyrus", "format"},
		"provider code":        {"11230100002180000P", "11230100002180000D", "provider.code"},
		"provider code length": {"11230100002180000P", "1123", "provider.code"},
		"class":                {"class: conditional", "class: open", "class"},
		"opening class":        {"class: none", "class: never", "opening"},
		"no condition":         {"condition: {zh: 须审核}, ", "", "condition.zh"},
		"no basis":             {", basis: 某法第三条", "", "legal basis"},
		"no opening basis":     {", basis: 某法第四条", "", "legal basis"},
		"basis without class":  {"class: none, ", "", "class is missing"},
		"method":               {"[verify, query]", "[verify, fax]", "fax"},
		"method twice":         {"[verify, query]", "[verify, verify]", "not repeat"},
		"methods of none":      {"class: conditional, condition: {zh: 须审核},", "class: none,", "verified"},
		"status":               {"status: planned", "status: sold", "operation.status"},
		"control character":    {"zh: 甲局", `zh: "a\x07b"`, "control"},
		"turned direction":     {"某法第三条", `"a\u202eb"`, "control"},
		"two lines of a name":  {"zh: 甲局", `zh: "a\nb"`, "control"},
		"long name":            {"zh: 甲局", "zh: " + strings.Repeat("长", maxLine+1), "longer"},
		"column basis":         {"scale: 2,", "scale: 2, basis: " + strings.Repeat("长", maxNote+1) + ",", "basis"},
		"column source":        {"scale: 2,", "scale: 2, source: Other,", "source department"},
		"unknown source":       {"scale: 2,", "scale: 2, source: nobody,", "not in the registry"},
		"operator as source":   {"scale: 2,", "scale: 2, source: op,", "not in the registry"},
		"misspelt field":       {"format: database", "fromat: database", "fromat"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refused(t, b, edited(t, describedTown(t), c[0], c[1]), "dept"); !strings.Contains(got, c[2]) {
				t.Errorf("%q is not in %s", c[2], got)
			}
		})
	}
}

// Loosening is the department's, tightening needs the regulator on the same bundle.
func TestR19_ClassesTightenWithTheRegulatorOnly(t *testing.T) {
	class := func(sharing, opening Class) string {
		text := "    abstract: {zh: " + string(sharing+opening) + "}\n"
		for name, c := range map[string]Class{"sharing": sharing, "opening": opening} {
			if c != "" {
				text += "    " + name + ": {class: " + string(c) + ", condition: {zh: 条件}, basis: 某法}\n"
			}
		}
		return edited(t, townCatalogue, "    unit: {column: id_number", text+"    unit: {column: id_number")
	}
	all := append([]Class{""}, Classes...)
	for i, was := range all {
		for j, now := range all {
			for _, opening := range []bool{false, true} {
				from, to := class(was, ""), class(now, "")
				if opening {
					from, to = class("", was), class("", now)
				}
				b := apply(t, town(t, "catalogue"), from, "dept")
				to += "# once more\n"
				switch {
				case was == "" || j > 0 && j <= i:
					apply(t, b, to, "dept")
				case now == "":
					if got := refused(t, b, to, "bureau", "dept"); !strings.Contains(got, "cannot be left out") {
						t.Error(got)
					}
				default:
					if got := refused(t, b, to, "dept"); !strings.Contains(got, "tightened") || !strings.Contains(got, "bureau") {
						t.Error(got)
					}
					apply(t, b, to, "bureau", "dept")
				}
			}
		}
	}
}

// What is not shared may be verified against and not queried; what has no class
// is treated as before there were classes.
func TestR03_DataThatIsNotSharedIsNotQueried(t *testing.T) {
	b := town(t, "")
	if got := ask(b); got != nil {
		t.Fatalf("control: %v", got)
	}
	none := edited(t, describedTown(t), "class: conditional, condition: {zh: 须审核}", "class: none")
	none = edited(t, none, "[verify, query]", "[verify]")
	b = apply(t, b, whole(none), "dept")
	if got := ask(b); !slices.Equal(got, []string{"DATASET_NOT_SHARED"}) {
		t.Error(got)
	}
	b = apply(t, b, whole(describedTown(t)), "dept")
	if got := ask(b); got != nil {
		t.Errorf("loosened: %v", got)
	}
}

// Another department's column needs its consent, again when the column or a class
// changes, and its signature on whatever sets policy for the column (R17).
func TestR17_AColumnOfAnotherDepartmentNeedsItsSignature(t *testing.T) {
	borrowed := edited(t, describedTown(t), "scale: 2,", "scale: 2, source: other,")
	b := town(t, "catalogue")
	if got := refused(t, b, borrowed, "dept"); !strings.Contains(got, `"other"`) || !strings.Contains(got, "consent") {
		t.Error(got)
	}
	b = apply(t, b, borrowed, "dept", "other")
	apply(t, b, edited(t, borrowed, "zh: 摘要", "zh: 新摘要"), "dept")
	for _, changed := range []string{
		edited(t, borrowed, `hi: "500.00"`, `hi: "600.00"`),
		edited(t, borrowed, "class: conditional", "class: unconditional"),
	} {
		if got := refused(t, b, changed, "dept"); !strings.Contains(got, "consent") {
			t.Error(got)
		}
		apply(t, b, changed, "dept", "other")
	}
	for _, step := range []struct {
		text    string
		signers []string
	}{{townGrading, []string{"dept"}}, {townMasking + "  areas: {}\n", []string{"dept"}}, {townDisclosure, []string{"dept"}}, {townLicence, []string{"bureau", "dept"}}} {
		if !strings.Contains(step.text, "fee") {
			b = apply(t, b, step.text, step.signers...) // it says nothing of the column
			continue
		}
		if got := refused(t, b, step.text, step.signers...); !strings.Contains(got, `"other"`) {
			t.Error(got)
		}
		b = apply(t, b, step.text, append(step.signers, "other")...)
	}
	if got := ask(b); got != nil {
		t.Error(got)
	}
}

const townNegative = `kind: NegativeList
by: dept
entries:
  - {id: n1, provider: dept, dataset: people, columns: [fee], basis: {zh: 某法第五条, en: article 5}}
`

func TestR21_WhatIsOnTheNegativeListIsNeitherLicensedNorQueried(t *testing.T) {
	b := apply(t, town(t, ""), townNegative, "dept")
	r := townAsk
	r.Core = townCore()
	reasons := b.Decide(r)
	if len(reasons) != 1 || reasons[0].Code != "NEGATIVE_LIST" || reasons[0].SetBy != "dept" || !strings.Contains(reasons[0].ZH, "某法第五条") || !strings.Contains(reasons[0].EN, "article 5") || !strings.Contains(reasons[0].ZH, "people.fee") {
		t.Errorf("%+v", reasons)
	}
	if got := refused(t, b, edited(t, townLicence, "id: l1", "id: l2"), "bureau", "dept"); !strings.Contains(got, "negative list") || !strings.Contains(got, "某法第五条") {
		t.Error(got)
	}
	apply(t, b, strings.NewReplacer("id: l1", "id: l2", "fee, ", "").Replace(townLicence), "bureau", "dept")
	// A query without the column is allowed.
	r.Core.Aggs = r.Core.Aggs[:1]
	if got := b.Decide(r); got != nil {
		t.Errorf("%+v", got)
	}
	// The whole data set, the whole provider, a name in whatever data set.
	for name, c := range map[string]struct{ entry, by string }{
		"data set":    {"{id: n2, provider: dept, dataset: people, basis: {zh: 法}}", "bureau"},
		"provider":    {"{id: n2, provider: dept, basis: {zh: 法}}", "bureau"},
		"column name": {"{id: n2, provider: dept, columns: [DIAGNOSIS_NAME], basis: {zh: 法}}", "dept"},
	} {
		held := apply(t, town(t, ""), "kind: NegativeList\nby: "+c.by+"\nentries:\n  - "+c.entry+"\n", c.by)
		if got := held.Decide(r); len(got) != 1 || got[0].Code != "NEGATIVE_LIST" || got[0].SetBy != c.by {
			t.Errorf("%s: %+v", name, got)
		}
		if _, ok := held.Dataset("people"); !ok || len(held.NegativeList()) != 1 || held.NegativeList()[0].Since != applied {
			t.Errorf("%s: %+v", name, held.NegativeList())
		}
	}
	// It is asked again before a release.
	if got := b.Withheld(townCore(), may2026); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// A column that came from another department is that department's too.
func TestR21_ASourceListsItsColumn(t *testing.T) {
	borrowed := edited(t, townCatalogue, "scale: 2,", "scale: 2, source: other,")
	b := apply(t, town(t, ""), whole(borrowed), "dept", "other")
	for _, entry := range []string{"{id: n1, provider: other, basis: {zh: 法}}", "{id: n1, provider: other, dataset: people, columns: [fee], basis: {zh: 法}}"} {
		held := apply(t, b, "kind: NegativeList\nby: other\nentries:\n  - "+entry+"\n", "other")
		if got := ask(held); !slices.Equal(got, []string{"NEGATIVE_LIST"}) {
			t.Errorf("%s: %v", entry, got)
		}
	}
}

func TestR21_WhoSetsAnEntryAloneRemovesIt(t *testing.T) {
	b := apply(t, town(t, ""), "kind: NegativeList\nby: bureau\nentries:\n  - {id: n1, provider: dept, dataset: people, basis: {zh: 法}}\n", "bureau")
	for by, text := range map[string]string{
		"dept":  "kind: NegativeList\nby: dept\nremove: [n1]\n",
		"other": "kind: NegativeList\nby: other\nremove: [n1]\n",
	} {
		if got := refused(t, b, text, by); !strings.Contains(got, `set by "bureau"`) {
			t.Error(got)
		}
	}
	if got := refused(t, b, townNegative, "dept"); !strings.Contains(got, `set by "bureau"`) {
		t.Errorf("replaced: %s", got)
	}
	gone := apply(t, b, "kind: NegativeList\nby: bureau\nremove: [n1]\n", "bureau")
	if got := ask(gone); got != nil || len(gone.NegativeList()) != 0 || len(b.NegativeList()) != 1 {
		t.Errorf("removed: %v", got)
	}
	entry := func(e string) string { return "kind: NegativeList\nby: dept\nentries:\n  - " + e + "\n" }
	for text, want := range map[string]string{
		"kind: NegativeList\nby: dept\n":                                                                "name anything",
		"kind: NegativeList\nby: op\nremove: [n1]\n":                                                    "no department",
		"kind: NegativeList\nby: dept\nremove: [n9]\n":                                                  "not on the list",
		entry("{id: n2, provider: other, basis: {zh: 法}}"):                                              "its own data only",
		entry("{id: n2, provider: nobody, basis: {zh: 法}}"):                                             "not a department",
		entry("{id: n2, provider: dept}"):                                                               "legal basis",
		entry("{id: N2, provider: dept, basis: {zh: 法}}"):                                               "not an id",
		entry("{id: n2, provider: dept, dataset: people, columns: [nothing], basis: {zh: 法}}"):          "no column",
		entry("{id: n2, provider: dept, columns: [\"a b\"], basis: {zh: 法}}"):                           "no column name",
		entry("{id: n2, provider: dept, basis: {zh: 法}}\n  - {id: n2, provider: dept, basis: {zh: 法}}"): "stands twice",
	} {
		signer := "dept"
		if strings.Contains(text, "by: op") {
			signer = "op"
		}
		if got := refused(t, b, text, signer); !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	if got := refused(t, b, townNegative, "other"); !strings.Contains(got, "signature of \"dept\" is missing") {
		t.Error(got)
	}
	if got := refused(t, b, strings.Replace(entry("{id: n2, provider: other, dataset: people, basis: {zh: 法}}"), "by: dept", "by: other", 1), "other"); !strings.Contains(got, "belongs to department") {
		t.Error(got)
	}
	// Data that is in no catalogue yet may be listed.
	apply(t, b, entry("{id: n2, provider: dept, dataset: dna, title: {zh: 基因}, basis: {zh: 法}}"), "dept")
}

// registration is a document for the town's first data set.
func registration(typ, code, until string) string {
	text := "kind: Registration\nsubject: {kind: dataset, id: people}\ncode: " + code + "\ntype: " + typ + "\n"
	if until != "" {
		text += "valid_until: " + until + "T00:00:00Z\n"
	}
	return text
}

func TestR11_RegistrationSuccession(t *testing.T) {
	b := town(t, "")
	if x := b.Registered(Target{TargetDataset, "people"}, applied); x == nil || x.Code != "REGISTRATION_MISSING" {
		t.Error(x)
	}
	put := func(b *Book, at time.Time, text string) (*Book, string) {
		next, _, err := b.Apply(signed(t, text, "bureau"), at)
		if err != nil {
			return nil, err.Error()
		}
		return next, ""
	}
	first, why := put(b, applied, registration("first", "A-1", "2029-06-01"))
	if why != "" {
		t.Fatal(why)
	}
	later := applied.AddDate(2, 0, 0)
	renewed, why := put(first, later, registration("change", "A-1", "2031-06-01"))
	if why != "" {
		t.Fatal(why)
	}
	corrected, why := put(renewed, later, registration("correction", "A-2", ""))
	if why != "" {
		t.Fatal(why)
	}
	cancelled, why := put(corrected, later, registration("cancel", "A-2", ""))
	if why != "" {
		t.Fatal(why)
	}
	again, why := put(cancelled, later, registration("first", "A-3", "2029-01-01"))
	if why != "" {
		t.Fatal(why)
	}
	for name, c := range map[string]struct {
		b    *Book
		at   time.Time
		code string
	}{
		"first": {first, applied, ""}, "first expired": {first, time.Date(2029, 6, 1, 0, 0, 0, 0, time.UTC), "REGISTRATION_EXPIRED"}, "first's last second": {first, time.Date(2029, 5, 31, 23, 59, 59, 0, time.UTC), ""},
		"renewed": {renewed, applied.AddDate(4, 0, 0), ""}, "corrected": {corrected, applied.AddDate(4, 0, 0), ""}, "cancelled": {cancelled, applied, "REGISTRATION_CANCELLED"}, "again": {again, later, ""},
	} {
		got := ""
		if x := c.b.Registered(Target{TargetDataset, "people"}, c.at); x != nil {
			got = x.Code
		}
		if got != c.code {
			t.Errorf("%s: %q, want %q", name, got, c.code)
		}
	}
	if r, ok := again.RegistrationOf(Target{TargetDataset, "people"}); !ok || r.Code != "A-3" || len(again.Registrations()) != 1 {
		t.Errorf("%+v", r)
	}
	other := strings.Replace(registration("first", "A-1", "2028-01-01"), "id: people", "id: firms", 1)
	for _, c := range []struct {
		name string
		b    *Book
		at   time.Time
		text string
		want string
	}{
		{"change without first", b, applied, registration("change", "A-1", "2028-01-01"), "use type first"},
		{"correction without first", b, applied, registration("correction", "A-1", ""), "use type first"},
		{"cancel without first", b, applied, registration("cancel", "A-1", ""), "no registration to cancel"},
		{"first twice", first, applied, registration("first", "A-9", "2028-01-01"), "registered already"},
		{"over three years", b, applied, registration("first", "A-1", "2029-06-02"), "at most 3 years"},
		{"in the past", b, applied, registration("first", "A-1", "2026-05-31"), "lie ahead"},
		{"no end", b, applied, registration("first", "A-1", ""), "valid_until is missing"},
		{"correction prolongs", first, later, registration("correction", "A-1", "2029-06-02"), "at most 3 years"},
		{"change of the code", first, applied, registration("change", "A-2", "2028-01-01"), "keeps the code"},
		{"change when expired", first, applied.AddDate(3, 0, 0), registration("change", "A-1", "2030-01-01"), "use type first"},
		{"change when cancelled", cancelled, later, registration("change", "A-2", "2030-01-01"), "use type first"},
		{"cancel twice", cancelled, later, registration("cancel", "A-2", "") + "# again\n", "no registration to cancel"},
		{"cancel of another code", first, applied, registration("cancel", "A-2", ""), "code in force"},
		{"cancel with an end", first, applied, registration("cancel", "A-1", "2028-01-01"), "code in force"},
		{"code of another", first, applied, other, "was given to dataset"},
		{"unknown type", b, applied, registration("renew", "A-1", "2028-01-01"), "unknown type"},
		{"no code", b, applied, registration("first", `""`, "2028-01-01"), "code is missing"},
		{"unknown data set", b, applied, strings.Replace(registration("first", "A-1", "2028-01-01"), "id: people", "id: nothing", 1), "not in the catalogue"},
		{"unknown subject", b, applied, strings.Replace(registration("first", "A-1", "2028-01-01"), "kind: dataset", "kind: licence", 1), "unknown subject"},
	} {
		if _, got := put(c.b, c.at, c.text); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q is not in %q", c.name, c.want, got)
		}
	}
	if got := refused(t, b, registration("first", "A-1", "2028-01-01"), "dept"); !strings.Contains(got, "signature of the regulator") {
		t.Error(got)
	}
	if !MayOffer(RoleRegulator, KindRegistration) || MayOffer(RoleDepartment, KindRegistration) || MayOffer(RoleOperator, KindNegativeList) || !MayOffer(RoleDepartment, KindNegativeList) {
		t.Error("the wrong parties may bring registrations")
	}
	// Products are registered by id.
	if _, why := put(b, applied, strings.Replace(registration("first", "P-1", "2028-01-01"), "kind: dataset, id: people", "kind: product, id: index-1", 1)); why != "" {
		t.Error(why)
	}
}

// Only a registry that says so makes registration a condition of use.
func TestR11_UnregisteredIsNotOffered(t *testing.T) {
	b := town(t, "")
	if got := ask(b); got != nil {
		t.Fatalf("not required: %v", got)
	}
	required := withKeys(townRegistry) + "registration_required: true\n"
	b = apply(t, b, required, "bureau")
	if got := ask(b); !slices.Equal(got, []string{"REGISTRATION_MISSING"}) || !b.RegistrationRequired() {
		t.Error(got)
	}
	b, _, err := b.Apply(signed(t, registration("first", "A-1", "2026-05-15"), "bureau"), time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(b); got != nil {
		t.Errorf("registered: %v", got)
	}
	r := townAsk
	r.Core, r.At = townCore(), time.Date(2026, 5, 15, 0, 0, 0, 0, time.UTC)
	if got := codesOf(b.Decide(r)); !slices.Equal(got, []string{"REGISTRATION_EXPIRED"}) {
		t.Error(got)
	}
	b, _, err = b.Apply(signed(t, registration("cancel", "A-1", ""), "bureau"), may2026)
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(b); !slices.Equal(got, []string{"REGISTRATION_CANCELLED"}) {
		t.Error(got)
	}
	b = apply(t, b, withKeys(townRegistry)+"# not any more\n", "bureau")
	if got := ask(b); got != nil {
		t.Errorf("switched off: %v", got)
	}
}

// The form check alone says what Apply would say of the form.
func TestR15_CheckCatalogue(t *testing.T) {
	docs, err := ParseBundle([]byte(townCatalogue))
	if err != nil {
		t.Fatal(err)
	}
	c := *docs[0].Catalogue
	if err := CheckCatalogue(c); err != nil {
		t.Error(err)
	}
	c.Datasets = append(c.Datasets, c.Datasets[0])
	if err := CheckCatalogue(c); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Error(err)
	}
	c.Datasets = []Dataset{{ID: "d", Title: Text{ZH: "名"}, Public: true, Columns: []Column{{Name: "430102199003077514", Type: algebra.Text}}}}
	if err := CheckCatalogue(c); err == nil || strings.Contains(err.Error(), "430102199003077514") {
		t.Error(err)
	}
	c.Department = ""
	if CheckCatalogue(c) == nil {
		t.Error("a catalogue of nobody is sound")
	}
}

// A catalogue that says nothing new looks as it did, so that what was signed and
// ledgered before reads the same.
func TestR15_NewFieldsAreAbsentUnlessSet(t *testing.T) {
	for _, v := range []any{Dataset{ID: "d"}, Column{Name: "c"}, Registry{}} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"format", "provider", "sharing", "opening", "operation", "element", "source", "basis", "registration_required"} {
			if strings.Contains(string(raw), `"`+name) {
				t.Errorf("%s stands in %s", name, raw)
			}
		}
	}
}

// A document written by the program reads back as it was.
func TestR15_FormatDocument(t *testing.T) {
	r := Registration{Subject: Target{TargetDataset, "people"}, Code: "A-1", Type: RegisterFirst, ValidUntil: time.Date(2029, 1, 1, 0, 0, 0, 0, time.FixedZone("", 8*3600)), Note: Text{ZH: " 两\n行"}}
	text, err := FormatDocument(KindRegistration, r)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := ParseBundle(text)
	if err != nil || len(docs) != 1 || docs[0].Kind != KindRegistration {
		t.Fatalf("%v\n%s", err, text)
	}
	got := *docs[0].Body.(*Registration)
	if !got.ValidUntil.Equal(r.ValidUntil) {
		t.Error(got.ValidUntil)
	}
	got.ValidUntil = r.ValidUntil
	if got != r {
		t.Errorf("%+v", got)
	}
	if text, err := FormatDocument(KindNegativeList, NegativeList{By: "dept", Remove: []string{"n1"}}); err != nil || strings.Contains(string(text), "entries") {
		t.Errorf("%v %s", err, text)
	}
	if _, err := FormatCatalogues(make([]Catalogue, maxDocuments+1)); err == nil {
		t.Error("more documents than a bundle may hold")
	}
}
