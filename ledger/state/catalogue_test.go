package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/ledger/entry"
)

// What is put on the negative list while a job runs is not released, and neither
// is what was answered before answered again.
func TestR21_WhatIsListedWhileAJobRunsIsNotReleased(t *testing.T) {
	w := city(t)
	job := w.submit(w.ask("alpha", "listed", counted("population")), entry.KindReserved)
	before := w.submit(w.ask("alpha", "answered", counted("population")), entry.KindReserved)
	w.must(w.released(before))
	w.policy("kind: NegativeList\nby: public_security\nentries:\n  - {id: n1, provider: public_security, dataset: population, columns: [district], basis: {zh: 法}}\n", "public_security")
	if err := w.try(w.released(job)); err == nil || !strings.Contains(err.Error(), "NEGATIVE_LIST") {
		t.Errorf("released: %v", err)
	}
	for _, query := range []string{"answered", "new"} {
		if got := w.codes(w.ask("alpha", query, counted("population"))); !slices.Equal(got, []string{"NEGATIVE_LIST"}) {
			t.Errorf("%s: %v", query, got)
		}
	}
	w.must(w.failed(job))
	w.policy("kind: NegativeList\nby: public_security\nremove: [n1]\n", "public_security")
	if got := w.codes(w.ask("alpha", "new", counted("population"))); got != nil {
		t.Errorf("removed from the list: %v", got)
	}
}
