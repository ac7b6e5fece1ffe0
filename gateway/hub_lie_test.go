package gateway_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
)

// liar is a hub that hands out an answer other than the one that it was given.
type liar struct {
	sandgatev1.UnimplementedRoundServiceServer
	says *sandgatev1.RoundRelease
}

func (l *liar) GetRoundRelease(context.Context, *sandgatev1.GetRoundReleaseRequest) (*sandgatev1.RoundRelease, error) {
	return l.says, nil
}

// lies has a hub alter the answer of a round in every way that it can: whoever has the
// agreement finds it out. The control is what comes over the wire: a well-formed answer,
// which without the check is what the receiver takes for the cities'.
func (r *hubSite) lies(round *sandgatev1.Round, honest *sandgatev1.RoundRelease) {
	r.t.Helper()
	l := &liar{}
	server := grpc.NewServer()
	sandgatev1.RegisterRoundServiceServer(server, l)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	agreement, err := client.ReadAgreement([]byte(r.agreement("delta", "")), "delta")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := client.ReadAgreement([]byte(r.agreement("delta", "")), "gamma"); err == nil {
		r.t.Error("an agreement was read that is not there")
	}
	other, err := client.ReadAgreement([]byte(strings.Replace(r.agreement("delta", ""), r.public(attack.Regulator), r.public(attack.Other), 1)), "delta")
	if err != nil {
		r.t.Fatal(err)
	}
	type answer = *sandgatev1.RoundRelease
	for what, alter := range map[string]func(answer){
		"":            func(answer) {},
		"a value":     func(a answer) { a.Release.Rows[0].Cells[1].Value = "9999" },
		"an interval": func(a answer) { a.Release.Rows[1].Cells[1].Lower = "0" },
		"a key": func(a answer) {
			a.Release.Rows[0].Cells[0], a.Release.Rows[1].Cells[0] = a.Release.Rows[1].Cells[0], a.Release.Rows[0].Cells[0]
		},
		"a row":       func(a answer) { a.Release.Rows = a.Release.Rows[1:] },
		"a row twice": func(a answer) { a.Release.Rows = append(a.Release.Rows, a.Release.Rows[0]) },
		"the order":   func(a answer) { a.Release.Rows[0], a.Release.Rows[1] = a.Release.Rows[1], a.Release.Rows[0] },
		"a name":      func(a answer) { a.Release.Columns[1].Name = "deaths" },
		"a scale":     func(a answer) { a.Release.Columns[1].Scale = 2 },
		"a column":    func(a answer) { a.Release.Columns = a.Release.Columns[:1] },
		"the mode":    func(a answer) { a.Release.Mode = "exact" },
		"the digest":  func(a answer) { a.Release.Digest = strings.Repeat("0", 64) },
		"a note":      func(a answer) { a.OverlapNoteEn = "all is well" },
		"the round":   func(a answer) { a.Round.Name = "rounds/0123456789abcdef0123" },
		"the session": func(a answer) { a.Round.Session = strings.Repeat("0", 64) },
		"the text": func(a answer) {
			a.Delivery.Text = []byte(strings.Replace(string(a.Delivery.Text), `"at":`, `"at":1`, 1))
		},
		"the signature": func(a answer) { a.Delivery.Sig = a.Delivery.Sig[1:] },
		"no delivery":   func(a answer) { a.Delivery = nil },
	} {
		l.says = proto.CloneOf(honest)
		alter(l.says)
		got, err := sandgatev1.NewRoundServiceClient(conn).GetRoundRelease(r.t.Context(), &sandgatev1.GetRoundReleaseRequest{Name: round.GetName()})
		if err != nil || what != "" && proto.Equal(got, honest) {
			r.t.Fatalf("%s: the hub told no lie: %v", what, err)
		}
		if err := client.CheckRound(agreement, attack.Op(0), "", got); (err == nil) != (what == "") {
			r.t.Errorf("a hub that altered %s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"another receiver":  client.CheckRound(agreement, attack.Op(1), "", honest),
		"another request":   client.CheckRound(agreement, attack.Op(0), "another", honest),
		"another regulator": client.CheckRound(other, attack.Op(0), "", honest),
	} {
		if err == nil {
			r.t.Errorf("%s was taken", what)
		}
	}
}

// between calls f once, when the gateway has entered a round and has not put it to anybody.
type between struct {
	slog.Handler
	f func()
}

func (b *between) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "round proposed" && b.f != nil {
		f := b.f
		b.f = nil
		f()
	}
	return nil
}

func (*between) Enabled(context.Context, slog.Level) bool { return true }

// R39: a round that is cancelled after it stands in the ledger and before the hub has it
// does not run on at the hub: nobody contributes to it, and nothing of it is released.
func TestR39_CancelledBeforeItBegan(t *testing.T) {
	b := &between{Handler: slog.DiscardHandler}
	r := newHubSiteWith(t, gateway.Options{Logger: slog.New(b)})
	r.attend(append([]string{attack.Regulator}, hubCities...)...)
	c := r.a.Client(attack.Op(0))
	cancelled := ""
	b.f = func() {
		list, err := c.Round.ListRounds(t.Context(), &sandgatev1.ListRoundsRequest{})
		if err != nil || len(list.GetRounds()) != 1 {
			t.Errorf("no round is there to be cancelled: %v", err)
			return
		}
		cancelled = list.GetRounds()[0].GetName()
		if _, err := c.Round.CancelRound(t.Context(), &sandgatev1.CancelRoundRequest{Name: cancelled}); err != nil {
			t.Error(err)
		}
	}
	got := r.run(nil)
	if got.GetName() != cancelled || got.GetState() != sandgatev1.Round_STATE_FAILED || got.GetReasons()[0].GetCode() != "CANCELLED" {
		t.Errorf("%v", got)
	}
	if phase := r.a.Domain.HubPhase(got.GetSession()); phase != federate.Failed {
		t.Errorf("the hub has the round as %s", phase)
	}
	// The control: one that nobody cancels is done by the same nodes.
	if got := r.run(nil); got.GetState() != sandgatev1.Round_STATE_RELEASED || r.a.Domain.HubPhase(got.GetSession()) != federate.Done {
		t.Errorf("control: %v", got)
	}
}
