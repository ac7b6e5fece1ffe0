package federate

import (
	"encoding/hex"
	"errors"
	"io"
	"slices"

	"github.com/sandgate/sandgate/policies"
)

func (r *Round) random(n int) ([]byte, *Fault) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.setup.Random, b); err != nil {
		return nil, r.Fail(internal())
	}
	return b, nil
}

func internal() *Fault {
	return fault("", codeInternal, "本节点内部错误", "this node failed")
}

// Accept takes part in the round. schema is the digest of this party's own columns, code
// lists and clamps; if it is not the proposal's, the answer is a refusal, which ends the
// round.
func (r *Round) Accept(schema string, at int64) ([]byte, *Fault) {
	if f := r.ready(at, Proposed, slices.Contains(r.p.Parties(), r.setup.Self)); f != nil {
		return nil, f
	}
	if schema != r.p.Schema {
		f := r.Fail(differs(r.setup.Self))
		return DeclineUnopened(r.p, r.setup.Self, f, at), f
	}
	nonce, f := r.random(32)
	if f != nil {
		return nil, f
	}
	r.nonce = hex.EncodeToString(nonce)
	return r.say(&Message{Kind: KindAnswer, Answer: &Answer{Accept: true, Schema: schema, Nonce: r.nonce}}, at)
}

// Decline does not take part, for reasons, and ends the round.
func (r *Round) Decline(reasons []policies.Reason, at int64) ([]byte, *Fault) {
	if f := r.ready(at, Proposed, slices.Contains(r.p.Parties(), r.setup.Self)); f != nil {
		return nil, f
	}
	m := &Message{V: Version, Session: r.session, Kind: KindAnswer, From: r.setup.Self, At: at,
		Answer: &Answer{Schema: r.p.Schema, Nonce: r.p.Nonce, Reasons: reasons}}
	r.Fail(declined(m))
	return m.Encode(), nil
}

// DeclineUnopened is what a party says to a proposal for which it has no round, because of
// f.
func DeclineUnopened(p *Proposal, party string, f *Fault, at int64) []byte {
	m := &Message{V: Version, Session: p.Session(), Kind: KindAnswer, From: party, At: at,
		Answer: &Answer{Schema: p.Schema, Nonce: p.Nonce, Reasons: []policies.Reason{*f.Reason}}}
	return m.Encode()
}

// Abort tells the others that this party's view of the round has failed.
func (r *Round) Abort(at int64) []byte {
	m := &Message{V: Version, Session: r.session, Kind: KindAbort, From: r.setup.Self, At: at, Abort: &Abort{Code: codeInternal}}
	if r.failed != nil {
		m.Abort = &Abort{Code: r.failed.Reason.Code, Party: r.failed.Party}
	}
	return m.Encode()
}

func differs(party string) *Fault {
	return fault(party, codeSchema, "数据列、代码表或截断范围与提案不同", "its columns, code lists or clamps differ from the proposal's")
}

func declined(m *Message) *Fault {
	f := fault(m.From, codeDeclined, "不参加本轮", "it does not take part")
	if len(m.Answer.Reasons) > 0 {
		x := m.Answer.Reasons[0]
		f.Reason.HintZH, f.Reason.HintEN = x.Code+"："+x.ZH, x.Code+": "+x.EN
	}
	return f
}

func (r *Round) takeAnswer(m *Message) *Fault {
	if f := r.turn(m, Proposed, r.p.Parties()); f != nil {
		return f
	}
	if !m.Answer.Accept {
		return declined(m)
	}
	if m.Answer.Schema != r.p.Schema {
		return differs(m.From)
	}
	for other, a := range r.answers {
		if a.Nonce == m.Answer.Nonce {
			return fault(m.From, codeMessage, "随机数与“%s”的相同", "its nonce is the one of %s", other)
		}
	}
	if m.From == r.setup.Self && m.Answer.Nonce != r.nonce {
		return fault(m.From, codeEquivocation, "以本节点的名义另作了答复", "another answer was given in this node's name")
	}
	r.answers[m.From] = m.Answer
	return nil
}

// Commit fixes this holder's share of the key.
func (r *Round) Commit(at int64) ([]byte, *Fault) {
	if f := r.ready(at, Committing, r.Holds() && r.holder == nil); f != nil {
		return nil, f
	}
	var err error
	if r.seal, err = newSealKey(r.setup.Random); err != nil {
		return nil, r.Fail(internal())
	}
	if r.holder, err = r.scheme.Holder(r.ctx, r.setup.Random); err != nil {
		return nil, r.Fail(internal())
	}
	var f *Fault
	if r.salt, f = r.random(saltBytes); f != nil {
		return nil, f
	}
	return r.say(&Message{Kind: KindCommitment, Commitment: &Commitment{Answers: r.said(KindAnswer, r.p.Parties()),
		Share: shareHash(r.session, r.setup.Self, r.salt, r.holder.KeyShare()), Seal: r.seal.PublicKey().Bytes()}}, at)
}

func shareHash(session, party string, salt, share []byte) string {
	return digest("key share", []byte(session), []byte(party), salt, share)
}

func (r *Round) takeCommitment(m *Message) *Fault {
	if f := r.turn(m, Committing, r.p.Holders()); f != nil {
		return f
	}
	if m.Commitment.Answers != r.said(KindAnswer, r.p.Parties()) {
		return fault(m.From, codeEquivocation, "所见的答复与本节点所见的不同", "the answers it saw are not those that this node saw")
	}
	k, err := parseSealKey(m.Commitment.Seal)
	if err != nil {
		return fault(m.From, codeKey, "封装公钥有误", "its sealing key is malformed")
	}
	r.commits[m.From], r.sealKeys[m.From] = m.Commitment, k
	return nil
}

// deals says whether departments deal shares to each other, this one among them.
func (r *Round) deals(party string) []string {
	if r.shape.DealBytes == 0 || !slices.Contains(r.p.Departments, party) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.p.Departments), func(d string) bool { return d == party })
}

// Reveal opens this holder's commitment, and deals to the other departments. The
// attachments go with the message.
func (r *Round) Reveal(at int64) ([]byte, []Attachment, *Fault) {
	if f := r.ready(at, Revealing, r.holder != nil && r.reveals[r.setup.Self] == nil); f != nil {
		return nil, nil, f
	}
	out := &Reveal{Commitments: r.said(KindCommitment, r.p.Holders()), Salt: r.salt}
	var with []Attachment
	if r.shape.KeyShareBytes > 0 {
		with = append(with, Attachment{From: r.setup.Self, Bytes: r.holder.KeyShare()})
	}
	for _, to := range r.deals(r.setup.Self) {
		deal, err := r.holder.Deal(to)
		if err != nil {
			return nil, nil, r.Fail(internal())
		}
		text, err := sealTo(r.sealKeys[to], sealInfo(r.session, "deal", r.setup.Self, to), deal)
		clear(deal)
		if err != nil {
			return nil, nil, r.Fail(internal())
		}
		out.Deals = append(out.Deals, Deal{To: to, Sealed: hashOf(text)})
		with = append(with, Attachment{From: r.setup.Self, To: to, Bytes: text})
	}
	text, f := r.say(&Message{Kind: KindReveal, Reveal: out}, at)
	if f != nil {
		return nil, nil, f
	}
	if len(with) > 0 {
		if f := r.Attach(with[0], at); f != nil {
			return nil, nil, f
		}
	}
	return text, with, nil
}

func (r *Round) takeReveal(m *Message) *Fault {
	if f := r.turn(m, Revealing, r.p.Holders()); f != nil {
		return f
	}
	v := m.Reveal
	if v.Commitments != r.said(KindCommitment, r.p.Holders()) {
		return fault(m.From, codeEquivocation, "所见的承诺与本节点所见的不同", "the commitments it saw are not those that this node saw")
	}
	if !slices.EqualFunc(v.Deals, r.deals(m.From), func(d Deal, to string) bool { return d.To == to }) {
		return fault(m.From, codeKey, "发给各部门的份额不齐", "its shares are not one for each other department")
	}
	r.reveals[m.From] = v
	if r.shape.KeyShareBytes == 0 {
		return r.takeShareOfKey(m.From, nil)
	}
	return nil
}

// Attach takes an attachment after the reveal it belongs to.
func (r *Round) Attach(a Attachment, at int64) *Fault {
	v := r.reveals[a.From]
	if f := r.ready(at, Revealing, v != nil && (a.To == "" || a.To == r.setup.Self)); f != nil {
		return f
	}
	f := r.takeShareOrDeal(a, v)
	if f == nil {
		f = r.advance(KindReveal)
	}
	if f != nil {
		return r.Fail(f)
	}
	return nil
}

func (r *Round) takeShareOrDeal(a Attachment, v *Reveal) *Fault {
	if a.To == "" {
		return r.takeShareOfKey(a.From, a.Bytes)
	}
	i := slices.IndexFunc(v.Deals, func(d Deal) bool { return d.To == a.To })
	if i < 0 || hashOf(a.Bytes) != v.Deals[i].Sealed || len(a.Bytes) != r.shape.DealBytes+SealOverhead {
		return fault(a.From, codeKey, "发给本节点的份额不是其签名的那一份，或长度有误", "its share for this node is not the one it signed, or of a wrong length")
	}
	if r.dealt[a.From] {
		return nil
	}
	deal, err := openSealed(r.seal, sealInfo(r.session, "deal", a.From, a.To), a.Bytes)
	if err != nil {
		return fault(a.From, codeKey, "发给本节点的份额无法解封", "its share for this node cannot be unsealed")
	}
	defer clear(deal)
	if err := r.holder.Take(a.From, deal); err != nil {
		return defective(a.From, codeKey, err)
	}
	r.dealt[a.From] = true
	return nil
}

func (r *Round) takeShareOfKey(from string, share []byte) *Fault {
	if shareHash(r.session, from, r.reveals[from].Salt, share) != r.commits[from].Share {
		return fault(from, codeEquivocation, "公布的密钥份额不是先前承诺的", "its share of the key is not the one it committed to")
	}
	if err := r.scheme.CheckShare(r.ctx, share); err != nil {
		return defective(from, codeKey, err)
	}
	r.shares[from] = slices.Clone(share)
	return nil
}

// revealed says whether everything has come that a holder reveals to this party.
func (r *Round) revealed(from string) bool {
	_, share := r.shares[from]
	return share && (r.dealt[from] || !slices.Contains(r.deals(from), r.setup.Self))
}

// sealedTo says whether there is exactly one sealed text of the right size for each.
func (r *Round) sealedTo(from string, all []Sealed, to []string, size int) *Fault {
	fits := len(all) == len(to)
	for i := 0; fits && i < len(all); i++ {
		fits = all[i].To == to[i] && len(all[i].Text) == size+SealOverhead
	}
	if !fits {
		return fault(from, codeKey, "发给各方的密封份额不齐或长度有误", "its sealed shares are not one for each, or of a wrong length")
	}
	return nil
}

// defective is the fault of something that a scheme refused.
func defective(party, code string, err error) *Fault {
	var d *Defect
	if !errors.As(err, &d) {
		return internal()
	}
	return defectFault(party, code, d)
}
