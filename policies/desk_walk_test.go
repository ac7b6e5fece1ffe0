package policies

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Acts in any order, by anybody: whatever is accepted keeps the rules, and
// whatever is refused changes nothing.
func TestR23_R25_RandomActsKeepTheRules(t *testing.T) {
	rng := rand.New(rand.NewPCG(19, 25))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	officials := func() string {
		return pick("[d-one, d-two]", "[d-one, d-two]", "[b-one, b-two]", "[b-one, b-two]", "[op-clerk, d-one]", "[d-one]", "[o-desk, x-two]")
	}
	anyone := func() string { return pick("bureau", "dept", "dept", "other", "op") }
	reached, first := map[string]int{}, desktown(t)
	for walk := range 30 {
		b, now := first, monday
		for n := range 40 {
			now = now.Add(time.Duration(rng.IntN(72)) * time.Hour)
			by, mark := anyone(), fmt.Sprintf("# %d/%d\n", walk, n)
			var text string
			switch rng.IntN(9) {
			case 0:
				text, by = townApplication, pick("op", "op", "rival")
			case 1, 2, 3:
				by = pick("bureau", "bureau", "dept", "dept", "other", "op")
				text = fmt.Sprintf("kind: Review\napplication: app-1\nby: %s\nofficials: %s\ndecision: %s\nreason: {zh: 由}\nbasis: {zh: 据}\n", by, officials(), pick("accept", "accept", "accept", "approve", "approve", "approve", "approve", "approve", "return", "refuse"))
			case 4:
				text, by = townGrant, pick("bureau", "dept")
			case 5:
				text = fmt.Sprintf("kind: Objection\nid: obj-%d\nby: %s\nofficial: o-desk\ndataset: people\nground: {zh: 由}\n", rng.IntN(3), by)
			case 6:
				text = fmt.Sprintf("kind: Ruling\nobjection: obj-%d\nby: %s\nofficials: %s\noutcome: %s\nreason: {zh: 由}\nbasis: {zh: 据}\n", rng.IntN(3), by, officials(), pick("resume", "resume", "process", "withdraw"))
			case 7:
				b = b.Ingested("people", now)
				continue
			case 8:
				text, by = withdrawIt.text, "op"
				if rng.IntN(20) > 0 {
					continue
				}
			}
			signers := []string{by}
			if text == townGrant {
				signers = []string{"bureau", "dept"}
			}
			before := ""
			look := rng.IntN(8) == 0
			if look {
				before = picture(t, b)
			}
			next, _, err := b.Apply(signed(t, text+mark, signers...), now)
			if look && picture(t, b) != before {
				t.Fatal("an act changed the book it was applied to")
			}
			if err == nil {
				b = next
			}
			c, filed := b.ApplicationCase("app-1")
			if filed {
				reached[string(c.State)]++
				keeps(t, c)
			}
			hold := false
			for _, id := range b.Objections() {
				o, _ := b.ObjectionCase(id)
				reached["objection "+string(o.State)+" "+o.Outcome]++
				hold = hold || o.State == CaseOpen || o.Outcome == "withdraw"
			}
			if hold != held(b) {
				t.Fatalf("held is %v, the objections say %v", held(b), hold)
			}
			for _, d := range b.Duties(now) {
				if d.Phase == PhaseUndated || d.Due.Before(d.Since) {
					t.Fatalf("%+v", d)
				}
			}
		}
	}
	for _, s := range []string{"filed", "accepted", "reviewing", "approved", "granted", "refused", "returned", "withdrawn", "objection open ", "objection ruled resume", "objection ruled withdraw", "objection ruled process"} {
		if reached[s] == 0 {
			t.Errorf("no walk reached %q: %v", s, reached)
		}
	}
}

// keeps checks a case against what must hold of its steps.
func keeps(t *testing.T, c ApplicationCase) {
	t.Helper()
	approved := map[string]bool{}
	for _, s := range c.Steps {
		if s.Decision != "approve" && s.Decision != "refuse" {
			continue
		}
		own := slices.ContainsFunc(c.filings(), func(f Step) bool { return f.By == s.By && slices.Contains(s.Officials, f.Officials[0]) })
		if len(s.Officials) != 2 || s.Officials[0] == s.Officials[1] || own {
			t.Fatalf("decided by %v", s.Officials)
		}
		if !slices.Contains(c.Reviewers, s.By) || s.By == "op" || s.By == "other" {
			t.Fatalf("decided by party %s", s.By)
		}
		approved[s.By] = approved[s.By] || s.Decision == "approve"
	}
	all := approved["dept"] && approved["bureau"]
	if (c.State == AppApproved || c.State == AppGranted) && !all || (c.State == AppAccepted || c.State == AppReviewing) && all {
		t.Fatalf("state %s after approvals of %v", c.State, approved)
	}
	if (c.Licence != "") != (c.State == AppGranted) {
		t.Fatalf("licence %q in state %s", c.Licence, c.State)
	}
}
