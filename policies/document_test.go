package policies

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestR17_BundlesOfTheTestDataAreAccepted(t *testing.T) {
	b := city(t)
	if got := len(b.Datasets()); got < 8 {
		t.Errorf("the city has %d data sets", got)
	}
	for _, id := range b.Datasets() {
		e, _ := b.Dataset(id)
		if x := e.Ready(); x != nil {
			t.Errorf("%s: %v", id, x)
		}
		if _, err := e.Schema(); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	d := apply(t, NewBook("data_bureau", publicOf("data_bureau")), load(t, "diabetes/registry.yaml"), "data_bureau")
	d = apply(t, d, load(t, "diabetes/bundle.yaml"), "hospital_group")
	d = apply(t, d, load(t, "diabetes/licence.yaml"), "data_bureau", "hospital_group")
	if x := d.InForce("alpha-diabetes-2026", time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)); x != nil {
		t.Error(x)
	}
}

func TestParseBundleIsStrict(t *testing.T) {
	bomb := "kind: Grading\nlevels: {x: &a {y: 1}, z: *a}\n"
	billion := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		billion += string(i) + ": &" + string(i) + " [" + strings.Repeat("*"+string(i-1)+",", 9) + "*" + string(i-1) + "]\n"
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "no document"},
		"comment only":      {"# nothing\n", "no document"},
		"null document":     {"---\n---\n", "kind"},
		"no kind":           {"department: dept\n", "kind is missing"},
		"unknown kind":      {"kind: Grant\n", `unknown kind "Grant"`},
		"kind of a list":    {"kind: [Licence]\n", "expected here: text"},
		"scalar":            {"Licence\n", "expected here: fields"},
		"unknown field":     {townLicence + "loophole: true\n", "loophole"},
		"unknown inner":     {strings.Replace(townCatalogue, "public: true", "public: true, secret: 1", 1), "document 1"},
		"misspelt field":    {strings.Replace(townDisclosure, "max_rows", "maxrows", 1), "maxrows"},
		"field in capitals": {strings.Replace(townDisclosure, "mode:", "Mode:", 1), "Mode"},
		"duplicate key":     {strings.Replace(townDisclosure, "mode: dp", "mode: exact\n    mode: dp", 1), "stands twice"},
		"duplicate map key": {strings.Replace(townGrading, "phone: 3", "phone: 3, phone: 1", 1), "stands twice"},
		"duplicate kind":    {"kind: Grading\nkind: Masking\n", "stands twice"},
		"wrong type":        {strings.Replace(townGrading, "born: 2", "born: [2]", 1), "document 1"},
		"fraction as level": {strings.Replace(townGrading, "born: 2", "born: 2.5", 1), "document 1"},
		"bad second":        {townGrading + "---\nkind: Nothing\n", "document 2"},
		"broken YAML":       {"kind: [\n", "failed to parse YAML"},
		"tab indent":        {"kind: Grading\nlevels:\n\tx: 1\n", "failed to parse YAML"},
		"not UTF-8":         {"kind: \xff\xfe\n", "failed to parse YAML"},
		"alias":             {bomb, "aliases"},
		"bomb":              {"kind: Grading\n" + billion, "aliases"},
		"merge key":         {"kind: Masking\nmasks: {a: {<<: {b: {op: drop}}}}\n", "merge"},
		"deep nesting":      {"kind: " + strings.Repeat("[", 20000), "document 1"},
		"oversize":          {"# " + strings.Repeat("x", MaxBundleBytes), "larger than"},
		"bad date":          {strings.Replace(townLicence, "2026-01-01T00:00:00+08:00", "soon", 1), "document 1"},
	} {
		docs, err := ParseBundle([]byte(c.text))
		if err == nil {
			t.Errorf("%s: accepted as %v", name, docs)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	docs, err := ParseBundle([]byte(townCatalogue + "---\n" + townGrading + "---\n" + townMasking + "---\n" + townDisclosure + "---\nkind: Revocation\nlicence: l1\nby: dept\nreason: {zh: 由}\n"))
	if err != nil || len(docs) != 5 || docs[0].Catalogue == nil || docs[1].Grading == nil || docs[2].Masking == nil || docs[3].Disclosure == nil || docs[4].Revocation == nil {
		t.Errorf("%v %v", docs, err)
	}
}

// Errors of a bundle name places and words of the policy language; a number as
// long as an identity number that stands there by mistake is not repeated.
func TestR01_BundleErrorsHoldNoLongNumbers(t *testing.T) {
	const id = "110101199003078515"
	b := town(t, "grading")
	for _, text := range []string{
		"kind: " + id + "\n",
		"kind: Grading\n" + id + ": 1\n",
		"kind: Grading\ndepartment: dept\nlevels: {people: {born: \"" + id + "\"}}\n",
		edited(t, townGrading, "born", "a"+id),
		edited(t, townGrading, "GB/T 43697-2024", id),
		edited(t, townGrading, "department: dept", "department: d"+id),
		edited(t, townGrading, "people:", "d"+id+":"),
		edited(t, townCatalogue, "id: people", "id: \""+id+"\""),
		edited(t, townCatalogue, "column: id_number", "column: \""+id+"\""),
		edited(t, townCatalogue, "value: b}", "value: \""+id+"\"}, {value: \""+id+"\"}"),
		edited(t, townCatalogue, "other: b", "other: \""+id+"\""),
		edited(t, townCatalogue, "kind: person", "kind: \""+id+"\""),
		edited(t, townCatalogue, "identifier: phone", "identifier: \""+id+"\""),
		edited(t, townRegistry, "role: operator", "role: \""+id+"\""),
	} {
		for _, signer := range []string{"dept", "bureau"} {
			if got := refused(t, b, text, signer); strings.Contains(got, id[:9]) {
				t.Errorf("repeated: %s", got)
			}
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	for _, s := range townSteps {
		f.Add([]byte(s.text))
	}
	f.Add([]byte(tradeScheme))
	f.Add([]byte("kind: Revocation\nlicence: l1\nby: dept\n---\nkind: Grading\nlevels: {a: {b: .nan}}\n"))
	f.Add([]byte(strings.Replace(townCatalogue, "0.5", ".nan", 1)))
	f.Add([]byte("a: &a [*a]"))
	for _, s := range []string{townApplication, townAccept, townDeptApproves + "scope: [{dataset: people, columns: [fee]}]\nnot_after: 2026-10-01T00:00:00+08:00\n", townBureauApproves, townGrant,
		townObjection, townRuling, townCorrection, townReply, townDispute, townSettle, townChange, withdrawIt.text, withKeys(load(f, "profiles/chifeng.yaml")),
		townApplication + "---\n" + townAccept + "---\n" + townDeptApproves + "---\n" + townBureauApproves + "---\n" + townGrant,
		townObjection + "---\n" + townRuling + "---\n" + townCorrection + "---\n" + townReply + "---\n" + townDispute + "---\n" + townSettle} {
		f.Add([]byte(s))
	}
	f.Add([]byte(townNegative + "---\n" + registration("first", "A-1", "2029-06-01")))
	f.Add([]byte(complete))
	if text, err := os.ReadFile(filepath.Join("..", "testdata", "city", "health.yaml")); err == nil {
		f.Add(text)
	}
	var books []*Book
	for _, before := range []string{"catalogue", "grading", "masking", "disclosure", "licence", ""} {
		books = append(books, town(f, before))
	}
	books = append(books, desktown(f), play(f, desktown(f), fileIt, acceptIt, objectIt, correctIt))
	everybody := map[string]bool{"bureau": true, "dept": true, "other": true}
	someone := map[string]bool{"op": true}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := ParseBundle(text)
		if err != nil {
			return
		}
		for _, d := range docs {
			raw, err := json.Marshal(d)
			if err != nil && !strings.Contains(err.Error(), "NaN") && !strings.Contains(err.Error(), "Inf") {
				t.Fatalf("%v: %s", err, raw)
			}
		}
		// Whatever parses is accepted or refused by every book; what is accepted
		// has a digest and, when ready, a schema and limits.
		for _, b := range books {
			next := b.clone()
			for _, d := range docs {
				signers := everybody
				if MayOffer(RoleOperator, d.Kind) {
					signers = someone
				}
				if next.put(d, act{signers: signers, at: applied}) != nil {
					break
				}
				next.noted(d, applied)
				for _, owed := range next.Duties(applied) {
					if owed.ID == "" || owed.Owes == "" || owed.Due.IsZero() != (owed.Phase == PhaseUndated) {
						t.Fatalf("a duty is wrong: %+v", owed)
					}
				}
			}
			for _, id := range next.Datasets() {
				e, _ := next.Dataset(id)
				if e.SpecDigest() == "" {
					t.Fatal("no digest")
				}
				if e.Ready() != nil {
					continue
				}
				if _, err := e.Schema(); err != nil {
					t.Fatalf("%s is ready and has no schema: %v", id, err)
				}
				if _, _, err := e.Limits(); err != nil {
					t.Fatalf("%s is ready and has no limits: %v", id, err)
				}
			}
		}
	})
}
