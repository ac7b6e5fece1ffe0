package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
)

// quota grants alpha's licence anew with a quota.
func (w *world) quota(rule string) {
	w.t.Helper()
	w.policy(load(w.t, "city/licences/alpha-2026.yaml")+"quota: {"+rule+"}\n", append([]string{"data_bureau"}, departments...)...)
}

func TestR06_QuotaOfADayEndsAtChineseMidnight(t *testing.T) {
	w := city(t)
	w.quota("jobs_per_day: 2")
	w.now = time.Date(2026, 3, 31, 15, 59, 59, 0, time.UTC)
	first := w.submit(w.ask("alpha", "a", counted("population")), entry.KindReserved)
	w.must(w.released(first))
	// A job that fails stays counted; a repeat is not counted, and is answered with
	// the quota used up.
	w.must(w.failed(w.submit(w.ask("alpha", "b", counted("population")), entry.KindReserved)))
	w.submit(w.ask("alpha", "a", counted("population")), entry.KindRepeated)
	over := w.ask("alpha", "c", counted("population"))
	d := w.s.Decide(over)
	if d.Refused == nil || d.Refused.Reasons[0].Code != "QUOTA_EXHAUSTED" {
		t.Fatalf("%+v", d)
	}
	for _, want := range []string{"jobs_per_day", "2 in all, 0 left", "2026-04-01 00:00 +08:00"} {
		if text := d.Refused.Reasons[0].Text("en"); !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if text := d.Refused.Reasons[0].Text("zh"); !strings.Contains(text, "剩余 0") || !strings.Contains(text, "2026-04-01") {
		t.Error(text)
	}
	w.submit(over, entry.KindRefused)
	// Another licence has its own.
	w.submit(w.ask("beta", "c", counted("social_insurance")), entry.KindReserved)
	// Written by hand it is refused as well, and changes nothing.
	forged := w.next(entry.KindReserved, "alpha")
	free := city(t)
	free.now = w.now
	forged.Reserved = free.s.Decide(free.ask("alpha", "forged", counted("population"))).Reserved
	forged.Reserved.Snapshots = []string{firstSnapshot(w, "population")}
	before := picture(t, w.s)
	if err := w.try(forged); err == nil || picture(t, w.s) != before {
		t.Error("a reservation past the quota was accepted")
	}
	w.now = time.Date(2026, 3, 31, 16, 0, 0, 0, time.UTC)
	w.submit(w.ask("alpha", "d", counted("population")), entry.KindReserved)
	if q := w.s.Quotas("alpha-2026", w.now); len(q) != 1 || q[0].Used != 1 || !q[0].Renews.Equal(time.Date(2026, 4, 1, 16, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", q)
	}
}

func TestR06_QuotasOfMonthTermAndRho(t *testing.T) {
	price := func() int64 {
		w := city(t)
		return int64(w.s.Decide(w.ask("alpha", "p", counted("population"))).Plan.Rho)
	}()
	for rule, fits := range map[string]int{
		"jobs_per_month: 2": 2, "jobs_per_term: 3": 3, "jobs_per_day: 9, jobs_per_month: 1": 1,
		fmt.Sprintf(`rho_per_term: "0.%09d"`, 2*price): 2, fmt.Sprintf(`rho_per_term: "0.%09d"`, 3*price-1): 2,
	} {
		w := city(t)
		w.quota(rule)
		for i := range fits {
			w.now = w.now.Add(25 * time.Hour)
			w.submit(w.ask("alpha", fmt.Sprint("q", i), counted("population")), entry.KindReserved)
		}
		if got := w.codes(w.ask("alpha", "over", counted("population"))); !slices.Equal(got, []string{"QUOTA_EXHAUSTED"}) {
			t.Errorf("%s: %v", rule, got)
		}
		// A new month renews the months' limits alone.
		w.now = time.Date(2026, 3, 31, 16, 0, 0, 0, time.UTC)
		want := []string{"QUOTA_EXHAUSTED"}
		if strings.Contains(rule, "jobs_per_month") {
			want = nil
		}
		if got := w.codes(w.ask("alpha", "later", counted("population"))); !slices.Equal(got, want) {
			t.Errorf("%s, next month: %v", rule, got)
		}
		// The quota granted anew keeps what was used.
		w.quota("jobs_per_term: 1000")
		if q := w.s.Quotas("alpha-2026", w.now); len(q) != 1 || q[0].Used != int64(fits) {
			t.Errorf("%s: %+v", rule, q)
		}
	}
}
