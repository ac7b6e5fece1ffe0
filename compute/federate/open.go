package federate

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
)

// AddPart takes part i of a contributor's data, for a holder that needs the sum: all
// contributors' part 0 in their order, then part 1, and so on. The part must be the one
// whose digest the contributor signed, and of exactly its form.
func (r *Round) AddPart(from string, i int, part []byte, at int64) *Fault {
	if f := r.ready(at, Summing, true); f != nil {
		return f
	}
	a := &r.adding
	if i != a.part || from != r.p.Contributors[a.party] {
		return fault(r.p.Aggregator, codeOrder, "各部分须按部分、再按参与方的次序给出", "parts are given part by part, and in the order of the contributors").drop()
	}
	if len(part) != r.shape.Part(i) || hashOf(part) != r.contributions[from].Parts[i] {
		return r.Fail(fault(from, codeChunk, "第 %d 部分不是其签名的那一份", "part %d is not the one it signed", i+1))
	}
	if err := r.sum.Add(i, part); err != nil {
		f := defective(from, codeChunk, err)
		f.Reason.ZH, f.Reason.EN = f.Reason.ZH+"（数据部分）", f.Reason.EN+" (in a part of its data)"
		return r.Fail(f)
	}
	if a.party++; a.party < len(r.p.Contributors) {
		return nil
	}
	if a.h == nil {
		a.h = sha256.New()
	}
	r.sum.Close(i, a.h)
	a.party = 0
	if a.part++; a.part == r.shape.Chunks {
		r.sumHash = hex.EncodeToString(a.h.Sum(nil))
		r.phase = Opening
	}
	return nil
}

// adding is how far a holder has added up.
type adding struct {
	part, party int
	h           hash.Hash
}

// opening is this holder's decryption share, and at the regulator those of the others.
type opening struct {
	opener   Opener
	enc      []byte
	sender   *hpke.Sender // nil at the regulator, which tells nobody its share
	parts    []string
	incoming map[string]*incoming
	values   int // parts of the result that were read
	h        hash.Hash
}

type incoming struct {
	from  *hpke.Recipient
	parts []string
	ended bool
}

func (o *opening) wipe() {
	if o.opener != nil {
		o.opener.Wipe()
	}
}

// Sharing is a decryption share being made, part by part.
type Sharing struct{ r *Round }

// Answer begins this holder's decryption share. The journal admits it once, and refuses if
// earlier sums about the same data and this one would tell too few contributors apart;
// write makes the record durable before the first part is made. Whatever happens next, the
// round's price is spent.
func (r *Round) Answer(write func(text []byte) error, at int64) (*Sharing, *Fault) {
	if f := r.ready(at, Opening, r.Decrypts() && r.opening == nil); f != nil {
		return nil, f
	}
	rec := &Record{V: Version, Deed: Answered, Session: r.session, Key: r.keyHash, Query: r.p.Query, At: at,
		Manifest: r.manifest, Sum: r.sumHash, Contributors: r.p.Contributors, Price: r.p.Price()}
	if f := r.setup.Journal.enter(rec, r.k(), write); f != nil {
		return nil, r.Fail(f)
	}
	o := &opening{incoming: map[string]*incoming{}, h: sha256.New()}
	r.opening = o
	if r.setup.Self != r.p.Regulator {
		var err error
		if o.enc, o.sender, err = newSender(r.sealKeys[r.p.Regulator], sealInfo(r.session, "share", r.setup.Self, r.p.Regulator)); err != nil {
			return nil, r.Fail(internal())
		}
	}
	noise, err := r.p.noise(r.setup.Random)
	if err != nil {
		return nil, r.Fail(internal())
	}
	if o.opener, err = r.holder.Open(r.sum, r.active, r.secrets, noise, r.setup.Random); err != nil {
		return nil, r.Fail(internal())
	}
	return &Sharing{r: r}, nil
}

func partLabel(session string, i int) []byte {
	return binary.BigEndian.AppendUint64([]byte(session), uint64(i))
}

// Part appends the next part of the share to dst, sealed to the regulator; at the regulator
// itself it appends nothing.
func (s *Sharing) Part(dst []byte, at int64) ([]byte, *Fault) {
	r, o := s.r, s.r.opening
	if f := r.ready(at, Opening, o != nil && len(s.r.opening.parts) < r.shape.Chunks); f != nil {
		return nil, f
	}
	i := len(o.parts)
	share, err := o.opener.Share(nil, i)
	if err != nil {
		return nil, r.Fail(internal())
	}
	defer clear(share)
	if o.sender == nil {
		if r.sum.AddShare(i, share) != nil {
			return nil, r.Fail(internal())
		}
		o.parts = append(o.parts, "")
		r.combined()
		return dst, nil
	}
	from := len(dst)
	if i == 0 {
		dst = append(dst, o.enc...)
	}
	text, err := o.sender.Seal(partLabel(r.session, i), share)
	if err != nil {
		return nil, r.Fail(internal())
	}
	dst = append(dst, text...)
	o.parts = append(o.parts, hashOf(dst[from:]))
	return dst, nil
}

// Finish is the message that goes with the parts of a department's share. The secret is
// gone with it.
func (s *Sharing) Finish(at int64) ([]byte, *Fault) {
	r, o := s.r, s.r.opening
	if f := r.ready(at, Opening, o != nil && o.sender != nil && len(o.parts) == r.shape.Chunks); f != nil {
		return nil, f
	}
	o.opener.Wipe()
	r.holder.Wipe()
	return r.say(&Message{Kind: KindShare, Share: &Share{Manifest: r.manifest, Sum: r.sumHash, Parts: o.parts}}, at)
}

// AddShare takes the next part of a department's decryption share, at the regulator after
// its own Answer.
func (r *Round) AddShare(from string, part []byte, at int64) *Fault {
	if f := r.ready(at, Opening, r.setup.Self == r.p.Regulator && r.opening != nil && slices.Contains(r.active[1:], from)); f != nil {
		return f
	}
	in := r.opening.incoming[from]
	if in == nil {
		in = &incoming{}
		r.opening.incoming[from] = in
	}
	i := len(in.parts)
	if i >= r.shape.Chunks || len(part) != r.shape.SealedShare(i) {
		return r.Fail(fault(from, codeChunk, "解密份额第 %d 部分的长度有误", "part %d of its decryption share has a wrong length", i+1))
	}
	in.parts = append(in.parts, hashOf(part))
	if i == 0 {
		var err error
		if in.from, err = newRecipient(r.seal, part[:encBytes], sealInfo(r.session, "share", from, r.setup.Self)); err != nil {
			return r.Fail(fault(from, codeChunk, "解密份额无法解封", "its decryption share cannot be unsealed"))
		}
		part = part[encBytes:]
	}
	share, err := in.from.Open(partLabel(r.session, i), part)
	if err != nil {
		return r.Fail(fault(from, codeChunk, "解密份额无法解封", "its decryption share cannot be unsealed"))
	}
	defer clear(share)
	if err := r.sum.AddShare(i, share); err != nil {
		f := defective(from, codeChunk, err)
		f.Reason.ZH, f.Reason.EN = f.Reason.ZH+"（解密份额）", f.Reason.EN+" (in its decryption share)"
		return r.Fail(f)
	}
	return nil
}

func (r *Round) takeShare(m *Message) *Fault {
	if f := r.turn(m, Opening, r.active); f != nil {
		return f
	}
	if m.Share.Manifest != r.manifest {
		return fault(m.From, codeEquivocation, "其解密份额属于另一份清单", "its decryption share is of another manifest")
	}
	if r.shape.EveryHolderSums && r.sumHash != "" && m.Share.Sum != r.sumHash {
		return fault(m.From, codeEquivocation, "其算得的和与本节点的不同", "the sum it computed is not this node's")
	}
	if r.setup.Self != r.p.Regulator {
		return nil
	}
	if r.opening == nil || r.opening.incoming[m.From] == nil {
		return fault(m.From, codeOrder, "解密份额的各部分未到", "the parts of its decryption share have not come").drop()
	}
	in := r.opening.incoming[m.From]
	if !slices.Equal(in.parts, m.Share.Parts) {
		return fault(m.From, codeChunk, "解密份额的部分不是其签名的那些", "the parts of its decryption share are not those it signed")
	}
	in.ended = true
	r.combined()
	return nil
}

// combined moves on when every decryptor's share is in.
func (r *Round) combined() {
	if len(r.opening.parts) < r.shape.Chunks {
		return
	}
	for _, d := range r.active[1:] {
		if in := r.opening.incoming[d]; in == nil || !in.ended {
			return
		}
	}
	r.phase = Opened
}

// Values appends the next part of the result to dst, at the regulator: the sums with all
// decryptors' noise. What lies outside the range that the bounds allow ends the round.
func (r *Round) Values(dst []int64, at int64) ([]int64, *Fault) {
	if f := r.ready(at, Opened, r.opening != nil && r.opening.values < r.shape.Chunks); f != nil {
		return nil, f
	}
	o := r.opening
	from := len(dst)
	dst, err := r.sum.Values(dst, o.values)
	if err != nil {
		f := defective("", codeResult, err)
		f.Reason.ZH += "：解密方 " + strings.Join(r.active, "、") + " 之一未守协议"
		f.Reason.EN += ": one of " + strings.Join(r.active, ", ") + " did not keep to the protocol"
		return nil, r.Fail(f)
	}
	if f := r.inRange(o.values*r.shape.ChunkCells, dst[from:]); f != nil {
		return nil, r.Fail(f)
	}
	o.values++
	b := make([]byte, 0, 8*len(dst[from:]))
	for _, v := range dst[from:] {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	o.h.Write(b)
	return dst, nil
}

// inRange holds cells from an index on against the bounds of their columns.
func (r *Round) inRange(at int, values []int64) *Fault {
	parties := int64(len(r.p.Contributors))
	for i, c := range r.p.Columns {
		if at >= c.Cells {
			at -= c.Cells
			continue
		}
		here, noise := values[:min(len(values), c.Cells-at)], r.p.NoiseBound(i)
		for _, v := range here {
			if v < parties*c.Low-noise || v > parties*c.High+noise {
				return fault("", codeResult, "列 %s 的和超出声明的范围：有参与方的数据越界；本轮作废", "a sum of column %s lies outside the declared range: a contributor's data did; the round is over", c.Name)
			}
		}
		values, at = values[len(here):], 0
	}
	return nil
}

// Result is the regulator's message that ends the round, once all values were read.
func (r *Round) Result(at int64) ([]byte, *Fault) {
	if f := r.ready(at, Opened, r.opening != nil && r.opening.values == r.shape.Chunks); f != nil {
		return nil, f
	}
	return r.say(&Message{Kind: KindResult, Result: &Result{Manifest: r.manifest, Sum: r.sumHash, Values: r.ValuesDigest(), Release: r.release, Content: r.content}}, at)
}

// ValuesDigest is that of the values read so far, at the regulator; empty elsewhere.
func (r *Round) ValuesDigest() string {
	if r.opening == nil || r.opening.h == nil {
		return ""
	}
	return hex.EncodeToString(r.opening.h.Sum(nil))
}

// Delivered says what was handed in, for the Result.
func (r *Round) Delivered(d *Delivery) { r.release, r.content = d.Digest(), d.Content() }

// Outcome is what the regulator said the round ended with, nil before Done.
func (r *Round) Outcome() *Result { return r.outcome }

// ManifestDigest is that of what is opened; empty before the manifest came.
func (r *Round) ManifestDigest() string { return r.manifest }

func (r *Round) takeResult(m *Message) *Fault {
	phase := Opening
	if r.setup.Self == r.p.Regulator {
		phase = Opened
	}
	if f := r.turn(m, phase, []string{r.p.Regulator}); f != nil {
		return f
	}
	if m.Result.Manifest != r.manifest || r.sumHash != "" && m.Result.Sum != r.sumHash {
		return fault(m.From, codeEquivocation, "其结果属于另一份清单或另一个和", "its result is of another manifest or another sum")
	}
	r.phase, r.outcome = Done, m.Result
	r.wipe()
	return nil
}
