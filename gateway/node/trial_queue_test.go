package node

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/policies"
)

// patient is a domain whose verdicts wait until gate is closed.
type patient struct {
	*domain
	gate    chan struct{}
	begun   atomic.Int32
	running atomic.Int32
	most    atomic.Int32
}

func (d *patient) Judge(context.Context, *federate.Trial, []byte) (*federate.Signed, []policies.Reason) {
	d.most.Store(max(d.most.Load(), d.running.Add(1)))
	d.begun.Add(1)
	<-d.gate
	d.running.Add(-1)
	return nil, []policies.Reason{{Code: "NO", ZH: "不", EN: "no"}}
}

// R39: a trial beyond those that a node answers at a time waits for its turn; the hub tells
// of it once.
func TestR39_TrialsWaitForTheirTurn(t *testing.T) {
	hub := NewHub(HubConfig{Schemes: schemes, Sign: signer("gateway"), Verify: verify, Dir: t.TempDir(), Now: time.Now,
		Judged: func(string, string, Judgement) error { return nil }})
	d := &patient{domain: &domain{}, gate: make(chan struct{})}
	n := New(Config{Party: "city_a", MinContributors: 3, Schemes: schemes, Sign: signer("city_a"), Verify: verify, Domain: d, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, hub.As("city_a"))
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); n.Run(ctx) }()
	defer func() { stop(); <-over }()
	for i := range maxTrials + 2 {
		if _, err := hub.Try(trialOf(string(rune('a'+i)), []byte("brief"), nil), []byte("brief")); err != nil {
			t.Fatal(err)
		}
	}
	until := func(count int32) {
		t.Helper()
		for range 5000 {
			if d.begun.Load() >= count {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%d of %d trials were begun", d.begun.Load(), count)
	}
	until(maxTrials)
	close(d.gate)
	until(maxTrials + 2)
	if d.most.Load() > maxTrials {
		t.Errorf("%d ran at a time", d.most.Load())
	}
}
