package policies

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// tampered decodes an envelope, changes it and encodes it again.
func tampered(t *testing.T, raw []byte, change func(*dsse.Envelope)) []byte {
	t.Helper()
	var env dsse.Envelope
	if err := json.Unmarshal(raw, &env); err != nil {
		t.Fatal(err)
	}
	change(&env)
	out, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestR17_OnlyTheOwnersSignatureCounts(t *testing.T) {
	b := town(t, "grading")
	good := signed(t, townGrading, "dept")
	b64 := base64.StdEncoding.EncodeToString
	for name, c := range map[string]struct {
		env  []byte
		want string
	}{
		"wrong key": {tampered(t, good, func(e *dsse.Envelope) {
			e.Signatures[0].Sig = b64(ed25519.Sign(keyOf("other"), dsse.PAE(PayloadType, []byte(townGrading))))
		}), "does not verify"},
		"another department":    {signed(t, townGrading, "other"), `signature of department "dept" is missing`},
		"the regulator instead": {signed(t, townGrading, "bureau"), `signature of department "dept" is missing`},
		"an operator":           {signed(t, townGrading, "op"), `signature of department "dept" is missing`},
		"no signature":          {tampered(t, good, func(e *dsse.Envelope) { e.Signatures = nil }), "no signature"},
		"nobody's":              {signed(t, townGrading, "ghost"), "no such party"},
		"good and nobody's":     {signed(t, townGrading, "dept", "ghost"), "no such party"},
		"good and broken": {tampered(t, signed(t, townGrading, "dept", "other"), func(e *dsse.Envelope) {
			e.Signatures[1].Sig = e.Signatures[0].Sig
		}), "does not verify"},
		"twice": {tampered(t, good, func(e *dsse.Envelope) { e.Signatures = append(e.Signatures, e.Signatures[0]) }), "stands twice"},
		"under another name": {tampered(t, signed(t, townGrading, "other"), func(e *dsse.Envelope) {
			e.Signatures[0].KeyID = "dept"
		}), "does not verify"},
		"tampered payload": {tampered(t, good, func(e *dsse.Envelope) {
			e.Payload = b64([]byte(strings.Replace(townGrading, "id_number: 4", "id_number: 1", 1)))
		}), "does not verify"},
		"other payload type": {tampered(t, good, func(e *dsse.Envelope) { e.PayloadType = "text/plain" }), "payload type"},
		"signed as another type": {tampered(t, good, func(e *dsse.Envelope) {
			e.Signatures[0].Sig = b64(ed25519.Sign(keyOf("dept"), dsse.PAE("text/plain", []byte(townGrading))))
		}), "does not verify"},
		"bare signature": {tampered(t, good, func(e *dsse.Envelope) {
			e.Signatures[0].Sig = b64(ed25519.Sign(keyOf("dept"), []byte(townGrading)))
		}), "does not verify"},
		"signature not base64": {tampered(t, good, func(e *dsse.Envelope) { e.Signatures[0].Sig = "!" }), "does not verify"},
		"payload not base64":   {tampered(t, good, func(e *dsse.Envelope) { e.Payload += "=" }), "not base64"},
		"not JSON":             {[]byte("kind: Grading"), "not a signature envelope"},
		"empty":                {nil, "not a signature envelope"},
		"null":                 {[]byte("null"), "payload type"},
	} {
		before := picture(t, b)
		next, _, err := b.Apply(c.env, applied)
		if err == nil || next != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if picture(t, b) != before {
			t.Errorf("%s: the book changed", name)
		}
	}
	if _, docs, err := b.Apply(good, applied); err != nil || len(docs) != 1 {
		t.Errorf("the honest envelope: %v", err)
	}
}

func TestSignReplacesAndRefusesAnotherDocument(t *testing.T) {
	env, err := Sign(nil, []byte(townGrading), "dept", keyOf("other"))
	if err != nil {
		t.Fatal(err)
	}
	if env, err = Sign(env, []byte(townGrading), "dept", keyOf("dept")); err != nil || len(env.Signatures) != 1 {
		t.Fatalf("%d signatures, %v", len(env.Signatures), err)
	}
	raw, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := town(t, "grading").Apply(raw, applied); err != nil {
		t.Error(err)
	}
	if _, err := Sign(env, []byte(townMasking), "dept", keyOf("dept")); err == nil {
		t.Error("a second document was signed into the envelope of the first")
	}
	env.PayloadType = "text/plain"
	if _, err := Sign(env, []byte(townGrading), "dept", keyOf("dept")); err == nil {
		t.Error("an envelope of another type was signed")
	}
}

func TestApplyAllOrNothing(t *testing.T) {
	b := town(t, "grading")
	bad := townGrading + "---\n" + townMasking + "---\n" + strings.Replace(townDisclosure, "k: 10", "k: 1", 1)
	if got := refused(t, b, bad, "dept"); !strings.Contains(got, "document 3 (Disclosure)") {
		t.Error(got)
	}
	if e, _ := b.Dataset("people"); e.Levels != nil || e.Masked {
		t.Error("the first documents of a refused bundle took effect")
	}
	before := picture(t, b)
	next := apply(t, b, townGrading+"---\n"+townMasking+"---\n"+townDisclosure, "dept")
	if picture(t, b) != before {
		t.Error("Apply changed the book it was called on")
	}
	if e, _ := next.Dataset("people"); e.Ready() != nil {
		t.Error(e.Ready())
	}
}

// Nobody can bring an older rule back by sending its signed envelope again.
func TestR17_AnOldBundleIsNotReplayed(t *testing.T) {
	b := town(t, "")
	strict := edited(t, townDisclosure, "max_rows: 4", "max_rows: 1")
	b = apply(t, b, strict, "dept")
	for _, s := range townSteps {
		if got := refused(t, b, withKeys(s.text), s.signers...); !strings.Contains(got, "applied before") {
			t.Errorf("%s: %s", s.name, got)
		}
	}
	if e, _ := b.Dataset("people"); e.Rule == nil || e.Rule.MaxRows != 1 {
		t.Error("the strict rule is not in force")
	}
	apply(t, b, townDisclosure+"# 2026-07-01\n", "dept")
}

func TestR17_OneItemHasOneSource(t *testing.T) {
	b := town(t, "")
	for name, text := range map[string]string{
		"catalogue":  edited(t, townCatalogue, "department: dept", "department: other"),
		"grading":    edited(t, townGrading, "department: dept", "department: other"),
		"masking":    edited(t, townMasking, "department: dept", "department: other"),
		"disclosure": edited(t, townDisclosure, "department: dept", "department: other"),
	} {
		if got := refused(t, b, text, "other"); !strings.Contains(got, `belongs to department "dept"`) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := refused(t, NewBook("bureau", publicOf("bureau")), townCatalogue, "bureau"); !strings.Contains(got, "no registry is in force") {
		t.Error(got)
	}
	if _, _, err := (&Book{}).Apply(signed(t, withKeys(townRegistry), "bureau"), applied); err == nil {
		t.Error("the zero book trusts somebody")
	}
}

func TestRegistryIsTheRegulators(t *testing.T) {
	b := town(t, "")
	more := edited(t, townRegistry, "purposes:", "  - {id: third, role: operator, title: {zh: 己}, key: \"@KEY:third\"}\npurposes:")
	if got := refused(t, b, more, "dept"); !strings.Contains(got, "signature of the regulator") {
		t.Error(got)
	}
	b = apply(t, b, more, "bureau")
	if _, ok := b.Party("third"); !ok {
		t.Error("the new party is not there")
	}
	if got := refused(t, b, edited(t, townRegistry, "丙", "丙丙"), "bureau"); !strings.Contains(got, `"third" is missing`) {
		t.Errorf("a party was dropped: %s", got)
	}
	// The regulator alone cannot put another key in a department's place; the
	// department's own old key must agree, and then ends at once.
	rotated := strings.Replace(more, base64.StdEncoding.EncodeToString(publicOf("dept")), base64.StdEncoding.EncodeToString(publicOf("dept2")), 1)
	if got := refused(t, b, rotated, "bureau"); !strings.Contains(got, "only with its own signature") {
		t.Errorf("the regulator replaced a department's key: %s", got)
	}
	promoted := edited(t, more, "{id: third, role: operator", "{id: third, role: department")
	if got := refused(t, b, promoted, "bureau"); !strings.Contains(got, "cannot change its role") {
		t.Error(got)
	}
	b = apply(t, b, rotated, "bureau", "dept")
	if got := refused(t, b, townMasking+"# x\n", "dept"); !strings.Contains(got, "does not verify") {
		t.Error(got)
	}
}

func TestR06R13_LicenceNeedsEverySignatureAndCanEnd(t *testing.T) {
	b := town(t, "licence")
	for _, signers := range [][]string{{"bureau"}, {"dept"}, {"bureau", "other"}, {"dept", "op"}} {
		if got := refused(t, b, townLicence, signers...); !strings.Contains(got, "is missing") {
			t.Errorf("%v: %s", signers, got)
		}
	}
	b = apply(t, b, townLicence, "bureau", "dept")
	if got := refused(t, b, edited(t, townLicence, "operator: op", "operator: rival"), "bureau", "dept"); !strings.Contains(got, "cannot change hands") {
		t.Error(got)
	}
	begin, end := time.Date(2025, 12, 31, 16, 0, 0, 0, time.UTC), time.Date(2030, 12, 31, 16, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]string{
		begin.Add(-1): "LICENCE_NOT_YET_VALID", begin: "", end.Add(-1): "", end: "LICENCE_EXPIRED", end.AddDate(1, 0, 0): "LICENCE_EXPIRED",
	} {
		if x := b.InForce("l1", at); (x == nil) != (want == "") || x != nil && x.Code != want {
			t.Errorf("at %v: %v, want %q", at, x, want)
		}
	}
	if x := b.InForce("l2", begin); x == nil || x.Code != "LICENCE_UNKNOWN" {
		t.Error(x)
	}
	revoke := func(by string) string { return "kind: Revocation\nlicence: l1\nby: " + by + "\nreason: {zh: 由}\n" }
	for _, c := range []struct{ by, signer, want string }{
		{"other", "other", "may not revoke"}, {"op", "op", "may not revoke"}, {"dept", "other", "signature of"}, {"bureau", "dept", "signature of"},
	} {
		if got := refused(t, b, revoke(c.by), c.signer); !strings.Contains(got, c.want) {
			t.Errorf("%s by %s: %s", c.by, c.signer, got)
		}
	}
	if got := refused(t, b, strings.Replace(revoke("dept"), "l1", "l9", 1), "dept"); !strings.Contains(got, "not granted") {
		t.Error(got)
	}
	for _, by := range []string{"dept", "bureau"} {
		ended := apply(t, b, revoke(by), by)
		if x := ended.InForce("l1", begin); x == nil || x.Code != "LICENCE_REVOKED" || x.SetBy != by {
			t.Errorf("after revocation by %s: %v", by, x)
		}
		if got := refused(t, ended, townLicence+"# again\n", "bureau", "dept"); !strings.Contains(got, "was revoked") {
			t.Error(got)
		}
	}
}

// The digest of the ingest specification changes with whatever decides how a file
// is read and stored, and with nothing else.
func TestSpecDigestCoversIngestAndNothingElse(t *testing.T) {
	digest := func(catalogue, masking string) string {
		b := apply(t, town(t, "catalogue"), catalogue, "dept")
		b = apply(t, b, townGrading, "dept")
		b = apply(t, b, masking, "dept")
		e, _ := b.Dataset("people")
		if len(e.SpecDigest()) != 64 {
			t.Fatal("no digest")
		}
		return e.SpecDigest()
	}
	base := digest(townCatalogue, townMasking)
	seen := map[string]string{base: "base"}
	for name, c := range map[string][2]string{
		"unit kind":    {"{column: id_number, kind: person}", "{column: diagnosis_name, kind: record}"},
		"one row":      {"    bad_rows", "    one_row_per_unit: true\n    bad_rows"},
		"bad rows":     {"max_percent: 0.5", "max_percent: 0.6"},
		"type":         {"type: decimal, scale: 2", "type: int"},
		"scale":        {"scale: 2", "scale: 3"},
		"nullable":     {"type: decimal,", "type: decimal, nullable: true,"},
		"missing":      {"type: decimal,", "type: decimal, missing: [\"-\"],"},
		"bounds":       {`hi: "500.00"`, `hi: "400.00"`},
		"codes":        {"{value: a}, ", "{value: c}, "},
		"more codes":   {"{value: a}, ", "{value: a}, {value: c}, "},
		"other":        {"other: b", "other: a"},
		"column name":  {"name: born", "name: phone2"},
		"column order": {"- {name: phone, title: {zh: 电话}, type: text, identifier: phone}\n      ", ""},
	} {
		text := edited(t, townCatalogue, c[0], c[1])
		if name == "type" {
			text = strings.Replace(text, `hi: "500.00"`, `hi: "500"`, 1)
		}
		masking, grading := townMasking, townGrading
		if name == "column name" {
			masking, grading = strings.Replace(masking, "born", "phone2", 1), strings.Replace(grading, "born", "phone2", 1)
		}
		if name == "column order" {
			masking, grading = strings.Replace(masking, ", phone: {op: drop}", "", 1), strings.Replace(grading, "phone: 3, ", "", 1)
		}
		if name == "unit kind" {
			masking = strings.Replace(masking, "born", "diagnosis_name: {op: drop}, born", 1)
		}
		b := apply(t, apply(t, apply(t, town(t, "catalogue"), text, "dept"), grading, "dept"), masking, "dept")
		e, _ := b.Dataset("people")
		d := e.SpecDigest()
		if prev, dup := seen[d]; dup {
			t.Errorf("%s has the digest of %s", name, prev)
		}
		seen[d] = name
	}
	for name, c := range map[string][2]string{
		"operator":  {"{op: year}", "{op: month}"},
		"dropped":   {"{op: year}", "{op: drop}"},
		"unmasked":  {", born: {op: year}", ""},
		"constant":  {"phone: {op: drop}", "phone: {op: constant, value: x}"},
		"constant2": {"phone: {op: drop}", "phone: {op: constant, value: y}"},
	} {
		d := digest(townCatalogue, edited(t, townMasking, c[0], c[1]))
		if prev, dup := seen[d]; dup {
			t.Errorf("mask %s has the digest of %s", name, prev)
		}
		seen[d] = name
	}
	for name, c := range map[string][2]string{
		"title":        {"人口", "户籍人口"},
		"column title": {"{zh: 费用}", "{zh: 总费用}"},
		"measure":      {"measure: 元", "measure: 万元"},
		"abstract":     {"    unit: {column: id", "    abstract: {zh: 摘要}\n    industry: S\n    period: \"2025\"\n    area: x\n    update_frequency: 每日\n    unit: {column: id"},
		"code title":   {"{value: a}", "{value: a, title: {zh: 甲}}"},
		"a neighbour":  {"name: trade", "name: line"},
	} {
		text := edited(t, townCatalogue, c[0], c[1])
		b := apply(t, town(t, "catalogue"), text, "dept")
		b = apply(t, b, strings.Replace(townGrading, "trade", map[bool]string{true: "line", false: "trade"}[name == "a neighbour"], 1), "dept")
		b = apply(t, b, townMasking, "dept")
		e, _ := b.Dataset("people")
		if e.SpecDigest() != base {
			t.Errorf("%s changed the digest", name)
		}
	}
	if digest(townCatalogue, edited(t, townMasking, "born: {op: year}", "born: {op: year}, fee: {op: keep}")) != base {
		t.Error("keep, named or not, is the same specification")
	}
	// A rule or a grade says nothing of how a file is stored.
	b := town(t, "")
	e, _ := b.Dataset("people")
	if e.SpecDigest() != base {
		t.Error("rule or licence changed the digest")
	}
}
