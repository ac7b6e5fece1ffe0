package gateway

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/bgv"
	"github.com/sandgate/sandgate/compute/federate/mask"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/signature"
)

// Pauses between attempts to reach the hub.
const (
	leastPause = 500 * time.Millisecond
	mostPause  = 30 * time.Second
)

// restarted is the code of a round that the process before did not live to see the end of.
const restarted = "NODE_RESTARTED"

// NodeOptions are what a domain takes part in rounds with.
type NodeOptions struct {
	// Party is the domain's name in rounds and Key what it signs with: as its Federation
	// documents say.
	Party string
	Key   crypto.Signer
	// Carrier reaches the hub.
	Carrier node.Carrier
	// Told is called for what happens, one at a time; Ready when the node begins, with its
	// agreements; Away when the hub cannot be reached, with how long it waits.
	Told  func(RoundEvent)
	Ready func(regions []string)
	Away  func(err error, wait time.Duration)
}

// RunNode takes part in aggregation rounds until ctx ends. It dials again when the
// connection is lost: rounds that ran then are over. It returns an error when it cannot
// take part at all: without an agreement that names the party by this key, or when the
// hub does not know it.
func (d *Domain) RunNode(ctx context.Context, opt NodeOptions) error {
	public, err := signature.Public(opt.Key)
	if err != nil {
		return fmt.Errorf("failed to read the party's key: %w", err)
	}
	regions, err := d.mayRun(opt.Party, public)
	if err != nil {
		return err
	}
	journal, err := node.OpenJournal(filepath.Join(d.home.Dir, "rounds"))
	if err != nil {
		return err
	}
	defer journal.Close()
	if err := d.settleRounds(ctx, journal); err != nil {
		return err
	}
	large, err := bgv.New()
	if err != nil {
		return fmt.Errorf("failed to check the parameters of the encryption: %w", err)
	}
	events := make(chan RoundEvent)
	told := make(chan struct{})
	go func() {
		defer close(told)
		for e := range events {
			opt.Told(e)
		}
	}()
	defer func() { close(events); <-told }()
	sign := func(text []byte) ([]byte, error) { return signature.Sign(opt.Key, text) }
	config := node.Config{
		Party: opt.Party, MinContributors: federate.MinContributors, Schemes: []federate.Scheme{large, mask.Scheme{}},
		Sign:    sign,
		Verify:  d.verifyParty,
		Journal: journal, Now: d.opt.Now, Logger: d.opt.Logger,
		Domain: &partner{d: d, party: opt.Party, told: func(e RoundEvent) { events <- e }, sign: sign, gates: make(chan struct{}, 1), open: map[string]*partaking{}},
	}
	opt.Ready(regions)
	wait := leastPause
	for {
		start := time.Now()
		err := node.New(config, opt.Carrier).Run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if x := hopeless(err); x != nil {
			return x
		}
		if time.Since(start) > mostPause {
			wait = leastPause
		}
		opt.Away(err, wait)
		pause(time.Now().Add(wait), ctx, ctx)
		wait = min(2*wait, mostPause)
	}
}

// mayRun lists the agreements in this ledger, and refuses a node that none names by its
// key.
func (d *Domain) mayRun(party string, public []byte) (regions []string, err error) {
	named, same := false, false
	d.log.View(func() {
		b := d.state.Book()
		regions = b.Federations()
		for _, r := range regions {
			f, _ := b.Federation(r)
			if _, ok := f.Party(party); !ok {
				continue
			}
			named = true
			key, ok := f.KeyOf(party)
			same = same || ok && slices.Equal(key, public)
		}
	})
	switch {
	case len(regions) == 0:
		return nil, refusal(policies.Reason{Code: "FEDERATION_UNKNOWN", Rule: "federation", SetBy: "sandgate", ZH: "本域账本中没有跨域协议", EN: "this domain's ledger holds no federation",
			HintZH: "由数源部门签名跨域协议（kind: Federation）后执行 sandgate policy apply", HintEN: "the department signs a Federation and runs sandgate policy apply"})
	case !named:
		return nil, refusal(policies.Reason{Code: "FEDERATION_PARTY", Rule: "federation", SetBy: "sandgate", ZH: "跨域协议中没有参与方“" + party + "”", EN: "no federation names the party \"" + party + "\"",
			HintZH: "检查 --kit 是否为汇聚方签发给本域的密钥包", HintEN: "check that --kit is the kit that the hub issued to this domain"})
	case !same:
		return nil, refusal(policies.Reason{Code: "FEDERATION_KEY", Rule: "federation", SetBy: "sandgate", ZH: "跨域协议所列“" + party + "”的公钥与密钥包的不同", EN: "the federation gives \"" + party + "\" another key than its kit holds",
			HintZH: "以密钥包的公钥重新签署跨域协议", HintEN: "sign the federation anew with the kit's public key"})
	}
	return regions, nil
}

// verifyParty says whether a party signed a text, by the agreements in this ledger: a
// party has one key in all of them.
func (d *Domain) verifyParty(party string, text, sig []byte) error {
	var key []byte
	d.log.View(func() {
		b := d.state.Book()
		for _, r := range b.Federations() {
			f, _ := b.Federation(r)
			if k, ok := f.KeyOf(party); ok {
				key = k
			}
		}
	})
	if key == nil || !signature.Verify(key, federate.SigningBytes(text), sig) {
		return errors.New("the signature does not verify")
	}
	return nil
}

// settleRounds ends what an earlier process left open, whose keys are gone, and brings
// back into the journal what the ledger says was answered: an older journal, or none, does
// not make a node answer again.
func (d *Domain) settleRounds(ctx context.Context, journal *node.Journal) error {
	type answer struct {
		p        *federate.Proposal
		manifest string
		at       int64
	}
	var open []entry.RoundEnded
	var answered []answer
	d.log.View(func() {
		for _, id := range d.state.Rounds() {
			r, _ := d.state.Round(id)
			if r.Ended == nil {
				open = append(open, entry.RoundEnded{Session: id, Code: restarted, Party: r.Joined.Party})
			}
			if r.Answered == nil {
				continue
			}
			if p, f := federate.DecodeProposal(r.Joined.Proposal); f == nil {
				answered = append(answered, answer{p, r.Answered.Manifest, r.At / 1000})
			}
		}
	})
	for _, a := range answered {
		if err := journal.Restore(a.p, a.manifest, a.at); err != nil {
			return err
		}
	}
	for _, x := range open {
		_, err := d.append(ctx, func(e *entry.Entry) error {
			e.Kind, e.Actor, e.RoundEnded = entry.KindRoundEnded, "gateway", &x
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hopeless is what dialling again does not mend: the hub refuses the node, or one of the
// two does not trust the other's certificate. Nil for the rest.
func hopeless(err error) error {
	st := status.Convert(err)
	trust := strings.Contains(st.Message(), "x509:") || strings.Contains(st.Message(), "tls: ")
	switch {
	case st.Code() == codes.Unavailable && trust:
		return refusal(policies.Reason{Code: "NODE_CERTIFICATE", Rule: "mutual TLS", SetBy: "sandgate", ZH: "与汇聚方的双向 TLS 未建立：证书不受信任、已过期或名称不符", EN: "mutual TLS with the hub failed: a certificate is not trusted, expired or of another name",
			HintZH: "检查 --kit 是否由该汇聚方签发，地址是否正确，本机时钟是否准确", HintEN: "check that this hub issued the kit, that the address is right and that the clock is"})
	case st.Code() == codes.Unauthenticated, st.Code() == codes.PermissionDenied:
		return refusal(policies.Reason{Code: "NODE_UNKNOWN", Rule: "registry", SetBy: "sandgate", ZH: "汇聚方不认识本节点：登记表中没有该参与方、已停用或无此权限", EN: "the hub does not know this node: its registry has no such party, or it was withdrawn, or may not take part",
			HintZH: "请汇聚方的主管部门登记本域（kind: Registry）", HintEN: "have the hub's regulator register this domain (kind: Registry)"})
	case st.Code() == codes.Unimplemented:
		return refusal(policies.Reason{Code: "NODE_NO_HUB", Rule: "hub", SetBy: "sandgate", ZH: "该地址的网关不汇聚轮次", EN: "the gateway at this address aggregates no rounds",
			HintZH: "检查 --hub", HintEN: "check --hub"})
	}
	return nil
}
