package policies

import (
	"maps"
	"slices"
	"time"
)

// desk is what the departments and the regulator have on their desks: the
// profile in force and every case. Cases are values; a changed one is put back
// whole, so that clones share nothing that changes.
type desk struct {
	profile      Profile
	calendar     Calendar
	applications map[string]ApplicationCase
	objections   map[string]ObjectionCase
	corrections  map[string]CorrectionCase
	changes      map[string]ChangeCase
	// renewed is when a data set was last ingested or catalogued, updated when it
	// was last catalogued or graded, granted when a licence was last put in force.
	renewed, updated, granted map[string]time.Time
	// first is when a licence was first put in force, lost when it was withdrawn.
	first, lost map[string]time.Time
}

func newDesk() desk {
	return desk{
		applications: map[string]ApplicationCase{}, objections: map[string]ObjectionCase{},
		corrections: map[string]CorrectionCase{}, changes: map[string]ChangeCase{},
		renewed: map[string]time.Time{}, updated: map[string]time.Time{}, granted: map[string]time.Time{},
		first: map[string]time.Time{}, lost: map[string]time.Time{},
	}
}

func (d desk) clone() desk {
	d.applications, d.objections = maps.Clone(d.applications), maps.Clone(d.objections)
	d.corrections, d.changes = maps.Clone(d.corrections), maps.Clone(d.changes)
	d.renewed, d.updated, d.granted = maps.Clone(d.renewed), maps.Clone(d.updated), maps.Clone(d.granted)
	d.first, d.lost = maps.Clone(d.first), maps.Clone(d.lost)
	return d
}

// Step is one act in the handling of a case.
type Step struct {
	At        time.Time
	By        string // party
	Officials []string
	Decision  string
	Reason    Text
	Basis     Text
	Answer    Text
	// Scope and NotAfter are what an approval narrowed an application to.
	Scope    []LicenceObject
	NotAfter time.Time
}

// follows appends without touching the array of an earlier Book's case.
func follows(steps []Step, s Step) []Step { return append(slices.Clone(steps), s) }

// noted keeps what a document that took effect says about when data sets and
// licences last changed.
func (b *Book) noted(doc Document, at time.Time) {
	switch doc.Kind {
	case KindCatalogue:
		for _, d := range doc.Catalogue.Datasets {
			b.desk.renewed[d.ID], b.desk.updated[d.ID] = at, at
		}
		b.follow(doc.Catalogue.Department, at)
	case KindGrading:
		for id := range doc.Grading.Levels {
			b.desk.updated[id] = at
		}
		b.follow(doc.Grading.Department, at)
	case KindRevocation:
		b.desk.lost[doc.Revocation.Licence] = at
	case KindLicence:
		b.desk.granted[doc.Licence.ID] = at
		if _, ok := b.desk.first[doc.Licence.ID]; !ok {
			b.desk.first[doc.Licence.ID] = at
		}
		b.grant(*doc.Licence, at)
	}
}

// Ingested returns the book after a data set's new snapshot: an objection that is
// ruled "process and resume" needs one.
func (b *Book) Ingested(dataset string, at time.Time) *Book {
	c := *b
	c.desk.renewed = maps.Clone(b.desk.renewed)
	c.desk.renewed[dataset] = at
	return &c
}

// Granted is when a licence document last took effect; zero for one of a book
// that has none.
func (b *Book) Granted(licence string) time.Time { return b.desk.granted[licence] }

// party checks that id is a registered party of one of the roles, still has its
// account, and signed the bundle.
func (b *Book) party(id string, a act, roles ...Role) (Party, error) {
	p, ok := b.parties[id]
	if !ok || !slices.Contains(roles, p.Role) {
		return Party{}, texts.Errorf("party %q is not in the registry as one of %v", safeName(id), roles)
	}
	if p.Withdrawn || p.Abroad {
		return Party{}, texts.Errorf("party %q is withdrawn or abroad", id)
	}
	if !a.signers[id] {
		return Party{}, texts.Errorf("signature of %q is missing", id)
	}
	return p, nil
}

// decider checks who acts on a case: the owning department or the regulator,
// under its own signature.
func (b *Book) decider(by, owner string, a act) error {
	if by != b.root && by != owner {
		return texts.Errorf("party %q may not act on this: only department %q, which owns the data, or the regulator", safeName(by), owner)
	}
	_, err := b.party(by, a, RoleDepartment, RoleRegulator)
	return err
}

// checkOfficials checks the officials of a party who act: distinct, two where the
// profile says so, and none of them one of those of the same party who did what they
// decide on. An official's id is his party's: what another party calls its own
// officials disqualifies nobody, or an applicant could name its reviewers.
func checkOfficials(by string, officials []string, did []Step, two bool) error {
	if len(officials) == 0 || len(officials) > 2 {
		return texts.Errorf("officials must name one or two officials")
	}
	for _, o := range officials {
		if err := checkID("official", o); err != nil {
			return err
		}
		if slices.ContainsFunc(did, func(s Step) bool { return s.By == by && slices.Contains(s.Officials, o) }) {
			return texts.Errorf("official %q filed this and cannot decide on it", o)
		}
	}
	if len(officials) == 2 && officials[0] == officials[1] {
		return texts.Errorf("officials name the same one twice")
	}
	if two && len(officials) < 2 {
		return texts.Errorf("the profile asks for two officials (two_person), and one is named")
	}
	return nil
}

// checkWords checks texts that stay in the ledger for ever: the Chinese one where
// it is needed, and no number as long as an identity or telephone number.
func checkWords(needed bool, words map[string]Text) error {
	for _, name := range slices.Sorted(maps.Keys(words)) {
		t := words[name]
		if needed && t.ZH == "" {
			return texts.Errorf("%s.zh is missing", name)
		}
		if longNumber.MatchString(t.ZH) || longNumber.MatchString(t.EN) || holdsPersonalNumber(t.ZH) || holdsPersonalNumber(t.EN) {
			return texts.Errorf("%s holds a number of nine digits or more: no person's number or telephone is written into the ledger", name)
		}
	}
	return nil
}

// pinned are the numbers in force now, for a case that is filed.
func (b *Book) pinned() rules { return b.desk.profile.rules() }

// reach says whether a deadline that begins at an instant can be computed.
func (b *Book) reach(from time.Time, days int) error {
	_, err := b.desk.calendar.AddWorkingDays(from, days)
	return err
}
