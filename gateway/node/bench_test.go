package node

import (
	"context"
	"log/slog"
	"math/big"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
)

// BenchmarkRoundOverTheNetwork is a round of eight contributors, two of them holders beside
// the regulator, and a million cells, over gRPC with mutual TLS on the loopback: every
// node, the hub and their journals, in one process.
func BenchmarkRoundOverTheNetwork(b *testing.B) {
	eight := []string{"city_a", "city_b", "city_c", "city_d", "city_e", "city_f", "city_g", "city_h"}
	for _, scheme := range schemes {
		b.Run(scheme.Name(), func(b *testing.B) {
			a := newAuthority(b, "ca")
			hub := NewHub(HubConfig{Schemes: schemes, Sign: signer("gateway"), Verify: verify, Dir: b.TempDir(), Now: time.Now})
			address := serve(b, a, func() *Hub { return hub })
			for i, party := range append([]string{"regulator"}, eight...) {
				j, err := OpenJournal(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				n := New(Config{Party: party, Schemes: schemes, Sign: signer(party), Verify: verify, Journal: j, Domain: &domain{number: int64(i), schema: hash("schema")},
					Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, Remote(dial(b, a, address, a.pair(party))))
				ctx, stop := context.WithCancel(b.Context())
				over := make(chan struct{})
				go func() { defer close(over); n.Run(ctx); j.Close() }()
				b.Cleanup(func() { stop(); <-over })
			}
			for round := 0; b.Loop(); round++ {
				p := proposal(scheme.Name(), scheme.Name()+string(rune('a'+round)))
				p.Columns[0].Cells, p.Columns[0].High = 1_000_000, 1<<23
				p.Contributors, p.Departments = eight, eight[:2]
				p.Columns[0].Sigma2, p.Deadline = big.NewInt(10_000), time.Now().Add(5*time.Minute).Unix()
				session, err := hub.Propose(p, nil)
				if err != nil {
					b.Fatal(err)
				}
				for st := (State{}); st.Phase != federate.Done; time.Sleep(5 * time.Millisecond) {
					if st, err = hub.State(session); err != nil || st.Phase == federate.Failed {
						b.Fatal(err, st.Fault)
					}
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/round")
			b.ReportMetric(0, "ns/op")
		})
	}
}
