package gateway_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
)

// A rehearsal comes by its twin through the door of a download: what a licensee may not
// have any more it does not compute on either, though the query itself is let in.
func TestRehearsalOnAPublishedTwin(t *testing.T) {
	a, err := attack.NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	a.Add(t, people("folk", 3000, `budget: {query: "0.001", query_max: "0.01", operator_year: "0.05", dataset_year: "1", lifetime: "1"}, twin: {rho: "0.03"}`))
	op := attack.Op(0)
	const sql = "SELECT COUNT(*) AS n FROM folk WHERE age < 40"
	if _, err := a.Client(op).Run(t.Context(), onTwin(op, "folk", sql, nil)); attack.Reason(err) != "TWIN_NONE" {
		t.Errorf("before there is one: %v", err)
	}
	twin, err := a.Client(attack.Department).Publish(t.Context(), &sandgatev1.PublishTwinRequest{RequestId: uuid.NewString(), Dataset: "folk", Columns: []string{"age", "district", "flag"}, Rho: "0.02"}, nil)
	if err != nil || twin.GetState() != sandgatev1.Twin_STATE_PUBLISHED {
		t.Fatalf("%v, %v", twin, err)
	}
	r, err := a.Client(op).Run(t.Context(), onTwin(op, "folk", sql, nil))
	if err != nil || r.GetSynthetic().GetSources()[0].GetTwin() != twin.GetDocumentDigest() {
		t.Fatalf("%v, %v", r, err)
	}
	a.Must(t, "kind: NegativeList\nby: "+attack.Department+"\nentries:\n  - {id: n1, provider: "+attack.Department+", dataset: folk, columns: [district], basis: {zh: 某法第五条, en: article 5}}\n", attack.Department)
	if _, err := a.Client(op).Run(t.Context(), onTwin(op, "folk", sql, nil)); attack.Reason(err) != "NEGATIVE_LIST" {
		t.Errorf("a twin with a column that was listed since: %v", err)
	}
	if _, err := a.Client(op).Twin.DownloadTwin(t.Context(), &sandgatev1.DownloadTwinRequest{Name: "datasets/folk"}); attack.Reason(err) != "NEGATIVE_LIST" {
		t.Errorf("its download: %v", err)
	}
	if _, err := a.Run(op, "folk", sql, 0); err != nil {
		t.Errorf("the query on the data, which does not touch the column: %v", err)
	}
}

func codeOf(err error) string {
	var r *gateway.Refusal
	if errors.As(err, &r) {
		return r.Reasons[0].Code
	}
	return ""
}

// Memory for the snapshots of a query is had for all of them or refused at once: one
// after the other, the first would be held while the second waits for it.
func TestRehearsalsHoldAllOrNothing(t *testing.T) {
	a := onTwins(t, "folk", "whole")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := attack.Op(0)
	if err := a.Domain.HoldDraws(ctx, op, false, "folk", "whole"); err != nil {
		t.Fatal(err)
	}
	if err := a.Domain.HoldDraws(ctx, op, true, "folk", "whole"); codeOf(err) != "TWIN_SIZE" {
		t.Errorf("two that do not fit together: %v", err)
	}
	for _, id := range []string{"folk", "whole"} {
		if err := a.Domain.HoldDraws(ctx, op, false, id); err != nil {
			t.Errorf("%s alone: %v", id, err)
		}
	}
}

// One draw stands and the others wait for it: one of each operator, and no longer than
// whoever asked.
func TestRehearsalsDrawInTurn(t *testing.T) {
	a := onTwins(t, "folk", "whole")
	end := a.Domain.DrawsStand()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outcome := make(chan error, 2)
	for _, id := range []string{"folk", "whole"} {
		go func() { outcome <- a.Domain.HoldDraws(ctx, attack.Op(0), false, id) }()
	}
	next := func() (err error) {
		t.Helper()
		select {
		case err = <-outcome:
		case <-time.After(30 * time.Second):
			t.Error("it waits for ever")
		}
		return err
	}
	if err := next(); codeOf(err) != "BUSY" {
		t.Errorf("a second that waits: %v", err)
	}
	cancel()
	if err := next(); !errors.Is(err, context.Canceled) {
		t.Errorf("one whose caller is gone: %v", err)
	}
	end()
	if err := a.Domain.HoldDraws(t.Context(), attack.Op(0), false, "folk", "whole"); err != nil {
		t.Errorf("once it has ended: %v", err)
	}
}

// A request id may come again once its rehearsal is forgotten: what was made of the old
// rows does not stand for the new ones.
func TestRehearsalThatComesAgain(t *testing.T) {
	a := onTwins(t, "folk")
	op := attack.Op(0)
	req := onTwin(op, "folk", "SELECT district, COUNT(*) AS n, ROUND(100.0 * COUNT(*) / SUM(COUNT(*)) OVER (), 1) AS share FROM folk GROUP BY district ORDER BY district", nil)
	for _, units := range []int64{600, 6000} {
		req.Twin = &sandgatev1.TwinRun{Units: units}
		r, err := a.Client(op).Run(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseFloat(r.GetRows()[0].GetCells()[1].GetValue(), 64)
		if err != nil || n < float64(units)/3-200 || n > float64(units)/3+200 {
			t.Errorf("of %d units a third are %v, %v", units, n, err)
		}
		a.Domain.ForgetRehearsals()
	}
}
