package state

import (
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// R39: one signature lasts as long as all rounds of its training may take, for every party
// and every pass, and no longer: neither does a pass that is made up for late count as
// unasked, nor does a signature last for ever once a domain has joined.
func TestR39_ARequestSpansItsTraining(t *testing.T) {
	for _, party := range []string{"city_a", "overseer"} {
		for pass := range 2 {
			// 10 minutes fresh, 2 of tolerance, and (2 + 1) rounds of 120 s; a round's
			// deadline is in 60 s.
			for ago, ok := range map[int64]bool{0: true, 1000: true, 1015: true, 1025: false, 5000: false} {
				w := trainable(t)
				if pass > 0 {
					first := w.agreed(w.passOf("one", party, 0, nil, nil))
					w.must(w.joined(first))
					if party == "overseer" {
						w.must(w.answeredRound(first.Session))
					}
					w.must(w.endedRound(resultOf(first.Session)))
				}
				j := w.passOf("one", party, pass, nil, nil)
				w.signFor(j, "institute", func(st *request.Statement) {
					st.Method, st.Request, st.Body = request.MethodTrain, "one", request.Commit(nil, request.TrainFields(trainedSpec.Text()))
					st.Terms = map[string]string{request.TermRegion: "delta", request.TermPeriod: "2026-02", request.TermScheme: st.Terms[request.TermScheme]}
					st.IssuedAt -= ago * 1000
					st.NotAfter -= ago * 1000
				})
				_, reasons := w.s.DecideRound(*j, w.now)
				if late := len(reasons) == 1 && reasons[0].Code == "FEDERATION_UNASKED" && strings.HasSuffix(reasons[0].EN, "deadline"); ok && len(reasons) > 0 || !ok && !late {
					t.Errorf("%s, pass %d, signed %d s ago: %v", party, pass, ago, reasons)
				}
			}
		}
	}
	// What the signature tells of the rounds is what the training has.
	w := trainable(t)
	m, reason := w.s.ownTraining(w.passOf("one", "city_a", 0, nil, nil))
	if reason != nil || fit.RoundsOf(trainedSpec) != m.Rounds() {
		t.Errorf("%d rounds, %v", fit.RoundsOf(trainedSpec), reason)
	}
	logistic := trainingRequest("x").Spec
	for _, steps := range []int{0, 1, 7} {
		logistic.Setting = policies.ModelSettings{Steps: steps}
		r := trainingRequest("x")
		r.Spec = logistic
		d := trainingCity(t).s.DecideHubTraining(HubTrainingAsk{Operator: "alpha", Request: r, At: w.now})
		if d.Asked == nil || d.Asked.Passes != fit.RoundsOf(logistic) {
			t.Errorf("%d steps: %d rounds, %+v", steps, fit.RoundsOf(logistic), d.Reasons)
		}
	}
}
