package federate

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
)

// Phase of a round, as one party sees it.
type Phase string

// Phases in their order; a round that does not end in Done ends in Failed.
const (
	Proposed   Phase = "proposed"   // answers are awaited
	Committing Phase = "committing" // commitments to the key's shares
	Revealing  Phase = "revealing"  // the key's shares
	Collecting Phase = "collecting" // contributions, then the manifest
	Summing    Phase = "summing"    // this holder adds the parts up
	Opening    Phase = "opening"    // decryption shares
	Opened     Phase = "opened"     // the regulator has the values
	Done       Phase = "done"
	Failed     Phase = "failed"
)

// MaxSkew is how far a sender's clock may be from ours, in seconds.
const MaxSkew = 300

// Setup is what a party brings to its rounds.
type Setup struct {
	Self    string
	Schemes []Scheme
	// Verify says whether a party in force signed a text: SigningBytes of it, by the edge.
	Verify func(party string, text, sig []byte) error
	// Random is a cryptographic source, such as release.NewSource. The round uses it from the
	// goroutine that calls it.
	Random io.Reader
	// MinContributors is this node's own k; the greater of it and the proposal's holds.
	MinContributors int
	Journal         *Journal
}

// Round is one party's view of a round: of a contributor, a holder, both, or the
// aggregator or receiver, which hold nothing. It is a state machine for one goroutine at a
// time. Its first Fault is its last word: secrets are wiped, and everything is refused
// from then on with the same Fault.
type Round struct {
	setup   Setup
	p       *Proposal
	session string
	scheme  Scheme
	shape   Shape
	phase   Phase
	failed  *Fault

	texts    map[Kind]map[string]string // digests of what was said, by kind and sender
	nonce    string
	answers  map[string]*Answer
	commits  map[string]*Commitment
	reveals  map[string]*Reveal
	shares   map[string][]byte // of the key, by holder, until it is made
	dealt    map[string]bool   // departments whose deal has come
	checked  map[string]bool   // and fits their share of the key
	ctx      Context
	holder   Holder
	seal     hpke.PrivateKey
	salt     []byte
	sealKeys map[string]hpke.PublicKey
	key      Key
	keyHash  string

	contributions map[string]*Contribution
	signed        map[string]Signed // contributions as they were signed
	active        []string
	manifest      string
	secrets       map[string][]byte // of the contributors, for this holder
	sum           Sum
	sumHash       string
	adding        adding
	opening       *opening
	release       string // digest of the delivery, at the regulator
	content       string // digest of the release in it
	outcome       *Result
}

// Open begins a party's view of a round from the aggregator's signed proposal. at is the
// instant in Unix seconds, as everywhere below.
func Open(s Setup, proposal Signed, at int64) (*Round, *Fault) {
	p, f := DecodeProposal(proposal.Text)
	if f != nil {
		return nil, f
	}
	if s.Verify(p.Aggregator, proposal.Text, proposal.Sig) != nil {
		return nil, unsigned(p.Aggregator)
	}
	r := &Round{setup: s, p: p, session: p.Session(), phase: Proposed, texts: map[Kind]map[string]string{}, answers: map[string]*Answer{}, commits: map[string]*Commitment{},
		reveals: map[string]*Reveal{}, shares: map[string][]byte{}, dealt: map[string]bool{}, checked: map[string]bool{}, sealKeys: map[string]hpke.PublicKey{}, contributions: map[string]*Contribution{}, signed: map[string]Signed{}, secrets: map[string][]byte{}}
	if at >= p.Deadline {
		return nil, fault(p.Aggregator, codeLate, "提案已过截止时刻", "the deadline of the proposal is over")
	}
	i := slices.IndexFunc(s.Schemes, func(one Scheme) bool { return one.Name() == p.Scheme })
	if i < 0 {
		return nil, fault("", codeProposal, "本节点不支持方案 %s", "this node does not have the scheme %s", p.Scheme)
	}
	r.scheme = s.Schemes[i]
	if r.shape, f = r.scheme.Fit(p); f != nil {
		return nil, f
	}
	if len(p.Contributors) < r.k() {
		return nil, fault(p.Aggregator, codeFew, "参与方少于本节点要求的 %d 个", "there are fewer contributors than the %d that this node demands", r.k())
	}
	if s.Journal.Has(Answered, r.session) || s.Journal.Has(Contributed, r.session) {
		return nil, fault(p.Aggregator, codeAgain, "本节点已参加过此轮次，密钥已失；须另起一轮", "this node has taken part in this round and its keys are gone; start another round")
	}
	if r.Holds() {
		if f := s.Journal.Admits(p.Query, p.Contributors, r.k()); f != nil {
			return nil, f
		}
	}
	return r, nil
}

func unsigned(party string) *Fault {
	return fault(party, codeSignature, "签名无效", "the signature does not verify")
}

func (r *Round) k() int { return max(r.p.MinContributors, r.setup.MinContributors) }

// Proposal is what the round is about. It must not be changed.
func (r *Round) Proposal() *Proposal { return r.p }

// Session names the round.
func (r *Round) Session() string { return r.session }

// Shape is the size of its parts.
func (r *Round) Shape() Shape { return r.shape }

// Phase is where the round is.
func (r *Round) Phase() Phase { return r.phase }

// Fault is what ended the round, nil while it runs or when it is done.
func (r *Round) Fault() *Fault { return r.failed }

// Holds says whether this party holds a share of the key.
func (r *Round) Holds() bool { return slices.Contains(r.p.Holders(), r.setup.Self) }

// Contributes says whether this party contributes.
func (r *Round) Contributes() bool { return slices.Contains(r.p.Contributors, r.setup.Self) }

// Fail ends the round. The first fault stays.
func (r *Round) Fail(f *Fault) *Fault {
	if r.failed == nil {
		r.failed, r.phase = f, Failed
		r.wipe()
	}
	return r.failed
}

func (r *Round) wipe() {
	if r.holder != nil {
		r.holder.Wipe()
	}
	if r.opening != nil {
		r.opening.wipe()
	}
	for _, s := range r.secrets {
		clear(s)
	}
	clear(r.salt)
	r.holder, r.seal, r.secrets, r.opening, r.sum = nil, nil, nil, nil, nil
}

// Tick ends the round when its deadline is over, and names whom it waited for.
func (r *Round) Tick(at int64) *Fault {
	if r.failed != nil || r.phase == Done || at < r.p.Deadline {
		return r.failed
	}
	missing := r.Missing()
	first := ""
	if len(missing) > 0 {
		first = missing[0]
	}
	list := strings.Join(missing, ", ")
	return r.Fail(fault(first, codeLate, "截止时刻已到，尚缺 %s；密钥作废，须另起一轮", "the deadline is over and %s did not come; the keys are discarded, start another round", list))
}

// Missing lists the parties whose message the round waits for.
func (r *Round) Missing() []string {
	var from []string
	var kind Kind
	switch r.phase {
	case Proposed:
		from, kind = r.p.Parties(), KindAnswer
	case Committing:
		from, kind = r.p.Holders(), KindCommitment
	case Revealing:
		return slices.DeleteFunc(r.p.Holders(), r.revealed)
	case Collecting:
		if r.setup.Self != r.p.Aggregator {
			return []string{r.p.Aggregator} // who collects the contributions
		}
		from, kind = r.p.Contributors, KindContribution
	case Summing:
		return []string{r.p.Aggregator} // who brings the parts
	case Opening:
		from, kind = []string{r.p.Regulator}, KindResult
		if r.setup.Self == r.p.Regulator {
			from, kind = r.active[1:], KindShare
		}
	case Opened:
		from, kind = []string{r.p.Regulator}, KindResult
	}
	return slices.DeleteFunc(slices.Clone(from), func(p string) bool { return r.texts[kind][p] != "" })
}

// ready says whether this party may do something now.
func (r *Round) ready(at int64, phase Phase, may bool) *Fault {
	if f := r.Tick(at); f != nil {
		return f
	}
	if r.phase != phase || !may {
		return fault(r.setup.Self, codeOrder, "此时或以此角色不能如此", "not now, or not in this role").drop()
	}
	return nil
}

// say writes a message of this party and takes it as the others will.
func (r *Round) say(m *Message, at int64) ([]byte, *Fault) {
	m.V, m.Session, m.From, m.At = Version, r.session, r.setup.Self, at
	text := m.Encode()
	if f := r.take(m, Signed{Text: text}, at); f != nil {
		return nil, r.Fail(f)
	}
	return text, nil
}

// Receive takes another party's signed message. A message that was taken before is taken
// again without effect. One that cannot be read, is not signed or comes out of turn is
// dropped, with a Fault; any other Fault ends the round.
func (r *Round) Receive(s Signed, at int64) *Fault {
	if f := r.Tick(at); f != nil {
		return f
	}
	m, err := DecodeMessage(s.Text)
	if err != nil {
		return fault("", codeMessage, "消息不是规范格式，已丢弃", "a message is not in canonical form; it was dropped").drop()
	}
	if r.setup.Verify(m.From, s.Text, s.Sig) != nil {
		// Anybody can claim to be somebody: this must not end the round.
		return fault("", codeSignature, "消息的签名无效，已丢弃", "the signature of a message does not verify; it was dropped").drop()
	}
	if m.Session != r.session {
		return fault("", codeMessage, "消息属于另一轮次，已丢弃", "a message is of another round; it was dropped").drop()
	}
	if !slices.Contains(r.p.Parties(), m.From) && m.From != r.p.Aggregator {
		return fault(m.From, codeOrder, "不是本轮的一方，消息已丢弃", "it has no part in the round; its message was dropped").drop()
	}
	f := r.take(m, s, at)
	if f == nil || f.dropped {
		return f // what comes too early may come again
	}
	return r.Fail(f)
}

// take checks a message against everything known and moves on.
func (r *Round) take(m *Message, s Signed, at int64) *Fault {
	hash := hashOf(s.Text)
	if before := r.texts[m.Kind][m.From]; before != "" {
		if before == hash {
			return nil
		}
		return fault(m.From, codeEquivocation, "就同一步骤说了两种话", "it said two different things at one step")
	}
	if m.At-at > MaxSkew || at-m.At > MaxSkew && m.Kind == KindAnswer {
		return fault(m.From, codeClock, "时钟相差超过 %d 秒", "its clock differs by more than %d seconds", MaxSkew)
	}
	var f *Fault
	switch m.Kind {
	case KindAnswer:
		f = r.takeAnswer(m)
	case KindCommitment:
		f = r.takeCommitment(m)
	case KindReveal:
		f = r.takeReveal(m)
	case KindContribution:
		f = r.takeContribution(m, s)
	case KindManifest:
		f = r.takeManifest(m, s, at)
	case KindShare:
		f = r.takeShare(m)
	case KindResult:
		f = r.takeResult(m)
	case KindAbort:
		return fault(m.From, codeDeclined, "中止本轮（%s %s）", "it ends the round (%s %s)", m.Abort.Code, m.Abort.Party)
	}
	if f != nil {
		return f
	}
	if r.texts[m.Kind] == nil {
		r.texts[m.Kind] = map[string]string{}
	}
	r.texts[m.Kind][m.From] = hash
	return r.advance(m.Kind)
}

// turn is the fault of a message that is out of order or of nobody who has a say.
func (r *Round) turn(m *Message, phase Phase, from []string) *Fault {
	if r.phase != phase || !slices.Contains(from, m.From) {
		return fault(m.From, codeOrder, "消息 %s 不合次序或不由其发出", "the message %s is out of order or not its to send", m.Kind).drop()
	}
	return nil
}

// said is the digest of what all senders said at one step.
func (r *Round) said(kind Kind, from []string) string {
	var parts [][]byte
	for _, p := range from {
		parts = append(parts, []byte(r.texts[kind][p]))
	}
	return digest(string(kind), parts...)
}

// advance moves on when everybody has spoken.
func (r *Round) advance(kind Kind) *Fault {
	switch {
	case kind == KindAnswer && len(r.answers) == len(r.p.Parties()):
		var nonces [][]byte
		for _, p := range r.p.Parties() {
			nonces = append(nonces, []byte(r.answers[p].Nonce))
		}
		crs, err := hex.DecodeString(digest("crs", append(nonces, []byte(r.session))...))
		if err != nil {
			return fault("", codeInternal, "内部错误", "internal error")
		}
		r.ctx = Context{Proposal: r.p, Self: r.setup.Self, CRS: [32]byte(crs)}
		r.phase = Committing
	case kind == KindCommitment && len(r.commits) == len(r.p.Holders()):
		r.phase = Revealing
	case kind == KindReveal && !slices.ContainsFunc(r.p.Holders(), func(h string) bool { return !r.revealed(h) }):
		return r.makeKey()
	}
	return nil
}

// makeKey joins the shares of the key, all of which have been checked.
func (r *Round) makeKey() *Fault {
	var shares [][]byte
	for _, h := range r.p.Holders() {
		shares = append(shares, r.shares[h])
	}
	k, err := r.scheme.Key(r.ctx, shares)
	if err != nil {
		return fault("", codeKey, "密钥合成失败", "the key could not be put together")
	}
	r.key = k
	r.keyHash = digest("key", []byte(r.session), []byte(r.said(KindCommitment, r.p.Holders())), []byte(r.said(KindReveal, r.p.Holders())), k.Bytes())
	r.shares = nil // megabytes that nobody needs any more
	r.phase = Collecting
	return nil
}

func hashOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
