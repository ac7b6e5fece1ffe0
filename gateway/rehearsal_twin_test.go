package gateway_test

import (
	"testing"

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
	a.Add(t, people("folk", 3000, `twin: {rho: "0.03"}`))
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
