package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/bgv"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/federate/mask"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/policies/signature"
)

// aggregator is this gateway as the hub of rounds across domains. It holds no rows and no
// share of any key.
type aggregator struct {
	d   *Domain
	hub *node.Hub

	mu        sync.Mutex
	rounds    map[string]*gathered  // by session, those that run
	trainings map[string]*conducted // by run, those that run
	// trialTime and trialPause are the constants of that name, but in tests.
	trialTime, trialPause time.Duration
}

// gathered is what is known of a round that runs beside the ledger.
type gathered struct {
	round    string             // or the training that it is a pass of
	training *conducted         // nil of a query
	post     []byte             // of a query: how its columns are named, ordered and cut
	delivery *federate.Delivery // the answer, once the regulator's node handed it in
	digest   string             // of its text
}

// delivered is an answer as it is stored: the text that the regulator's node signed.
type delivered struct {
	Text []byte `json:"text"`
	Sig  []byte `json:"sig"`
}

// openHub makes the hub, and ends in the ledger the rounds that an earlier run left open:
// nothing of a round outlives its hub.
func (d *Domain) openHub(ctx context.Context) error {
	if err := os.MkdirAll(d.home.Rounds(), 0o700); err != nil {
		return fmt.Errorf("failed to make the directory of rounds: %w", err)
	}
	if err := d.sweepRounds(); err != nil {
		return err
	}
	scheme, err := bgv.New()
	if err != nil {
		return fmt.Errorf("failed to set up the scheme bgv: %w", err)
	}
	a := &aggregator{d: d, rounds: map[string]*gathered{}, trainings: map[string]*conducted{}, trialTime: trialTime, trialPause: trialPause}
	a.hub = node.NewHub(node.HubConfig{Schemes: []federate.Scheme{scheme, mask.Scheme{}}, Sign: d.signAsHub, Verify: d.verifyInRound,
		Dir: d.home.Rounds(), Now: d.opt.Now, Deliver: a.deliver, Done: a.done, Failed: a.failed, Judged: a.judged})
	d.aggregator = a
	if err := d.endRounds(ctx, hubRestarted); err != nil {
		return err
	}
	d.jobs.Go(func() { a.hub.Run(d.ctx) })
	return d.resumeTrainings(ctx)
}

// hubRestarted is the end of rounds that ran when the gateway stopped.
var hubRestarted = policies.Reason{Code: "HUB_RESTARTED", Rule: "federation", SetBy: "sandgate",
	ZH: "网关在轮次进行中停止，本轮作废", EN: "the gateway stopped while the round ran; the round is over",
	HintZH: "请用新的 request_id 另起一轮", HintEN: "propose another round under another request_id"}

// sweepRounds removes what a crash left of files that should have no name.
func (d *Domain) sweepRounds() error {
	files, err := os.ReadDir(d.home.Rounds())
	if err != nil {
		return fmt.Errorf("failed to list the directory of rounds: %w", err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".round-") {
			if err := os.Remove(filepath.Join(d.home.Rounds(), f.Name())); err != nil {
				return fmt.Errorf("failed to remove what is left of a round: %w", err)
			}
		}
	}
	return nil
}

// endRounds ends every open round for a reason.
func (d *Domain) endRounds(ctx context.Context, r policies.Reason) error {
	var open []string
	d.log.View(func() { open = d.state.OpenHubRounds() })
	for _, id := range open {
		if err := d.failRound(ctx, entry.HubFailed{Round: id, Code: r.Code, Reason: &r}, nil); err != nil && !errors.Is(err, errEnded) {
			return err
		}
	}
	return nil
}

// hubKey is the key that agreements name this gateway by: that of its receipts.
func (d *Domain) hubKey() ed25519.PrivateKey {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	return ed25519.NewKeyFromSeed(d.keys.Receipt)
}

func (d *Domain) hubPublicKey() string {
	return home.PublicKey(d.hubKey().Public().(ed25519.PublicKey))
}

func (d *Domain) signAsHub(text []byte) ([]byte, error) { return ed25519.Sign(d.hubKey(), text), nil }

// verifyInRound says whether a party signed a text of a round, under the registry in
// force; or this gateway itself, by the name that an agreement gives it.
func (d *Domain) verifyInRound(party string, text, sig []byte) error {
	var key []byte
	ok := false
	d.log.View(func() {
		b := d.state.Book()
		if key, ok = b.PartyKey(party); ok {
			return
		}
		for _, region := range b.Federations() {
			if f, _ := b.Federation(region); f.Hub.Party == party {
				key, ok = f.KeyOf(party)
			}
		}
	})
	if !ok || !signature.Verify(key, federate.SigningBytes(text), sig) {
		return errors.New("the signature does not verify")
	}
	return nil
}

// attends says which party a node's call is from.
func (d *Domain) attends(ctx context.Context) (string, error) {
	party := caller(ctx)
	if err := d.Authorize(party, policies.ActAttendRound, policies.Resource{}); err != nil {
		return "", statusOf(err)
	}
	return party, nil
}

func (a *aggregator) of(session string) (*gathered, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.rounds[session]
	if g == nil {
		return nil, node.ErrRound
	}
	return g, nil
}

// errDelivery is an answer that is none.
var errDelivery = errors.New("the delivery holds no release of a query in dp mode")

// deliver keeps the answer of a round before its result is taken. Nobody is given it
// before the ledger commits to it.
func (a *aggregator) deliver(session string, p *federate.Proposal, dl *federate.Delivery, s federate.Signed) error {
	g, err := a.of(session)
	if err != nil {
		return err
	}
	if g.training != nil {
		values, err := fit.DecodeValues(dl.Release)
		if err != nil || federate.ValuesDigest(values) != dl.Values || len(values) != p.Cells() {
			return notSums(p)
		}
	} else if _, err := loadDelivery(dl); err != nil || !bytes.Equal(dl.Post, g.post) {
		return errDelivery
	}
	text, err := json.Marshal(delivered{s.Text, s.Sig})
	if err != nil {
		return err
	}
	name := federate.DeliveryDigest(s.Text)
	d := a.d
	d.mu.Lock()
	d.kept[name]++
	d.mu.Unlock()
	if err := durable.Write(d.releasePath(name), text, "release"); err != nil {
		d.opt.Logger.Error("the answer of a round could not be kept", "round", g.round)
		return errors.Join(errors.New("the hub could not keep the delivery"), d.dropDelivery(name))
	}
	a.mu.Lock()
	g.delivery, g.digest = dl, name
	a.mu.Unlock()
	return nil
}

// notSums names the regulator that signed sums which are not those of a pass.
func notSums(p *federate.Proposal) *federate.Fault {
	return &federate.Fault{Party: p.Regulator, Reason: &policies.Reason{Code: "FEDERATION_SUMS", Rule: "federation", SetBy: p.Regulator,
		ZH: "“" + p.Regulator + "”：所交付的不是这一遍的各项合计", EN: p.Regulator + ": what it delivered are not the sums of the pass"}}
}

func loadDelivery(dl *federate.Delivery) (*release.Release, error) {
	return release.Load(dl.Release, sha256.Sum256(dl.Release))
}

func (d *Domain) dropDelivery(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept[name]--; d.kept[name] > 0 {
		return nil
	}
	delete(d.kept, name)
	return durable.Remove(d.releasePath(name), "release.drop")
}

// done enters the answer that the regulator's result names, or ends the round if what let
// it be proposed holds no more.
func (a *aggregator) done(session string, m *federate.Message, s federate.Signed) error {
	d := a.d
	g, err := a.of(session)
	if err != nil {
		return err
	}
	if g.delivery == nil || m.Result.Release != g.digest || m.Result.Content != g.delivery.Content() || m.Result.Values != g.delivery.Values {
		return &federate.Fault{Party: m.From, Reason: &policies.Reason{Code: "ROUND_UNDELIVERED", Rule: "federation", SetBy: m.From,
			ZH: "“" + m.From + "”：结果没有交付与之相符的答复", EN: m.From + ": no answer was handed in that fits the result"}}
	}
	if g.training != nil {
		return a.passDone(session, g, m, s)
	}
	rel, err := loadDelivery(g.delivery)
	if err != nil {
		return err
	}
	digest := rel.Digest()
	var stopped *entry.HubFailed
	_, err = d.append(context.Background(), func(e *entry.Entry) error {
		if stopped = d.state.StoppedHubRound(d.state.Book(), g.round, e.Time()); stopped != nil {
			return errEnded
		}
		r, _ := d.state.HubRound(g.round)
		if r.Phase != state.PhaseReserved {
			return errEnded
		}
		if e.At >= r.Proposed.Deadline*1000 {
			return lateResult(m.From)
		}
		e.Kind, e.Actor = entry.KindHubReleased, "gateway"
		e.HubReleased = &entry.HubReleased{Round: g.round, Result: s.Text, Sig: s.Sig, Digest: hex.EncodeToString(digest[:]), Rows: int64(rel.Len()), Bytes: int64(len(g.delivery.Release))}
		return nil
	})
	if stopped != nil {
		return &federate.Fault{Reason: &policies.Reason{Code: stopped.Code, Rule: stopped.Rule, SetBy: stopped.By,
			ZH: "轮次已依 " + stopped.Rule + " 停止，结果未发布", EN: "the round was stopped by " + stopped.Rule + "; nothing was released"}}
	}
	if err == nil {
		a.forget(session)
		d.opt.Logger.Info("round released", "round", g.round)
	}
	return err
}

func lateResult(party string) *federate.Fault {
	return &federate.Fault{Party: party, Reason: &policies.Reason{Code: "FEDERATION_LATE", Rule: "federation", SetBy: party,
		ZH: "“" + party + "”：结果在截止时刻之后", EN: party + ": the result came after the deadline"}}
}

func (a *aggregator) forget(session string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.rounds, session)
}

// failed enters the end of a round that gave no answer.
func (a *aggregator) failed(session string, f *federate.Fault) {
	g, err := a.of(session)
	if err != nil {
		return
	}
	a.forget(session)
	if g.training != nil {
		a.passFailed(session, g, f)
		return
	}
	d := a.d
	x := entry.HubFailed{Round: g.round, Code: f.Reason.Code, Party: f.Party, Reason: bounded(*f.Reason)}
	d.log.View(func() {
		r, _ := d.state.HubRound(g.round)
		if !slices.Contains(r.Parties, x.Party) {
			x.Party = "" // ourselves, or nobody that is known
		}
		if want := d.state.StoppedHubRound(d.state.Book(), g.round, d.instant()); want != nil && want.Rule == f.Reason.Rule && want.Code == x.Code {
			x.By, x.Rule = want.By, want.Rule
		}
	})
	if err := d.failRound(context.Background(), x, nil); err != nil && !errors.Is(err, errEnded) {
		d.opt.Logger.Error("the end of a round could not be entered", "round", g.round)
	}
	if g.digest != "" {
		if err := d.dropDelivery(g.digest); err != nil {
			d.opt.Logger.Error("the answer of a round that failed could not be removed", "round", g.round)
		}
	}
}

// maxWords bounds each text of a party's reason in the ledger, in bytes.
const maxWords = 1024

// bounded cuts what a party said to what an entry holds.
func bounded(r policies.Reason) *policies.Reason {
	for _, t := range []*string{&r.Code, &r.Rule, &r.SetBy, &r.ZH, &r.EN, &r.HintZH, &r.HintEN} {
		if len(*t) > maxWords {
			*t = (*t)[:maxWords]
		}
		*t = strings.ToValidUTF8(*t, "")
	}
	return &r
}

// failRound ends a round in the ledger; errEnded if it has its outcome.
func (d *Domain) failRound(ctx context.Context, f entry.HubFailed, signed *request.Signed) error {
	_, err := d.append(ctx, func(e *entry.Entry) error {
		if r, ok := d.state.HubRound(f.Round); !ok || r.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Kind, e.Actor, e.HubFailed, e.Signed = entry.KindHubFailed, "gateway", &f, signed
		return nil
	})
	return err
}

// roundFiles are the names of the stored answers that the ledger commits to.
func (d *Domain) roundFiles() (out []string) {
	d.log.View(func() {
		for _, id := range d.state.HubRounds() {
			if r, _ := d.state.HubRound(id); r.Released != nil {
				if m, err := federate.DecodeMessage(r.Released.Result); err == nil && m.Result != nil {
					out = append(out, m.Result.Release)
				}
			}
		}
	})
	return out
}
