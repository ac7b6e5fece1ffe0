package policies

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// A bundle stays in the ledger for ever: nobody's number may stand in the free
// text of one.

var (
	betweenDigits = regexp.MustCompile(`(\p{Nd})[\s._·/\-]+(\p{Nd})`)
	digitRuns     = regexp.MustCompile(`\p{Nd}+`)
	mobile        = regexp.MustCompile(`^1[3-9]\d{9}$`)
)

// holdsPersonalNumber says whether a text holds what reads as an identity, card or
// mobile number, however it is spaced. Dates, amounts and document numbers do not.
func holdsPersonalNumber(s string) bool {
	// Matches do not overlap: every second gap goes at a time.
	s = betweenDigits.ReplaceAllString(betweenDigits.ReplaceAllString(s, "$1$2"), "$1$2")
	for _, run := range digitRuns.FindAllString(s, -1) {
		if n := len([]rune(run)); n == 15 || n >= 16 || n == 11 && (mobile.MatchString(run) || len(run) > n) {
			return true
		}
	}
	return false
}

// checkDocumentWords keeps such numbers out of the texts of a document, by the
// document's own names for them.
func checkDocumentWords(d Document) error {
	words := map[string]string{}
	text := func(name string, t Text) { words[name+".zh"], words[name+".en"] = t.ZH, t.EN }
	switch {
	case d.Licence != nil:
		text("title", d.Licence.Title)
		text("scenario", d.Licence.Scenario)
		text("security_terms", d.Licence.Security)
		text("exit_terms", d.Licence.Exit)
		text("renewal_terms", d.Licence.Renewal)
	case d.Revocation != nil:
		text("reason", d.Revocation.Reason)
	}
	switch v := d.Body.(type) {
	case *Order:
		text("reason", v.Reason)
		text("basis", v.Basis)
	case *NegativeList:
		for i, e := range v.Entries {
			text("entries["+strconv.Itoa(i)+"].basis", e.Basis)
		}
	case *Registration:
		words["code"] = v.Code
		text("note", v.Note)
	case *Consent:
		words["document"] = v.Document
	case *Conversion:
		text("basis", v.Basis)
	case *Product:
		text("title", v.Title)
		text("abstract", v.Abstract)
		words["sql"] = v.SQL
		for i, p := range v.Parameters {
			at := "parameters[" + strconv.Itoa(i) + "]"
			text(at+".title", p.Title)
			for j, value := range p.Values {
				words[at+".values["+strconv.Itoa(j)+"]"] = value
			}
		}
	case *ProductReview:
		text("reason", v.Reason)
		words["basis"] = v.Basis
	case *UsageReport:
		text("scenario", v.Scenario)
		text("effect", v.Effect)
		text("incidents", v.Incidents)
	case *PriceCeiling:
		words["basis"] = v.Basis
	}
	for _, name := range slices.Sorted(maps.Keys(words)) {
		if holdsPersonalNumber(words[name]) {
			return texts.Errorf("%s holds what reads as an identity, card or telephone number: nobody's number is written into the ledger", name)
		}
	}
	return nil
}
