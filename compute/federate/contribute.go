package federate

import (
	"slices"
)

// Writing is a contribution being made, part by part.
type Writing struct {
	r      *Round
	w      Writer
	parts  []string
	ranges []Column
	left   int // cells of ranges[0] that are still to come
}

// Contribute begins this party's contribution: once per session, which write makes
// durable in the journal before the first part is made.
func (r *Round) Contribute(write func(text []byte) error, at int64) (*Writing, *Fault) {
	if f := r.ready(at, Collecting, r.Contributes()); f != nil {
		return nil, f
	}
	rec := &Record{V: Version, Deed: Contributed, Session: r.session, Key: r.keyHash, Query: r.p.Query, At: at}
	if f := r.setup.Journal.enter(rec, r.k(), write); f != nil {
		return nil, r.Fail(f)
	}
	w, err := r.key.Writer(r.setup.Random)
	if err != nil {
		return nil, r.Fail(internal())
	}
	return &Writing{r: r, w: w, ranges: r.p.Columns, left: r.p.Columns[0].Cells}, nil
}

// Part appends the next part to dst: the next Shape.ChunkCells values, or what is left of
// all cells. A value outside its column's bounds ends the round; the fault that is returned
// names the column and not the value, that of the round not even the column.
func (w *Writing) Part(dst []byte, values []int64) ([]byte, *Fault) {
	r := w.r
	if r.failed != nil {
		return nil, r.failed
	}
	i := len(w.parts)
	if i >= r.shape.Chunks || len(values) != min(r.shape.ChunkCells, r.p.Cells()-i*r.shape.ChunkCells) {
		return nil, r.Fail(fault(r.setup.Self, codeRange, "单元数与提案不符", "the number of cells is not the proposal's"))
	}
	for _, v := range values {
		for w.left == 0 {
			w.ranges = w.ranges[1:]
			w.left = w.ranges[0].Cells
		}
		w.left--
		if c := w.ranges[0]; v < c.Low || v > c.High {
			// Rows were read: that one is out of range is an exact bit of them. The others are told
			// the one code of every failure from here on; the column is for who reads this.
			r.Fail(executionFailed(r.setup.Self))
			return nil, fault(r.setup.Self, codeRange, "列 %s 有值超出声明的范围", "a value of column %s lies outside the declared range", c.Name)
		}
	}
	from := len(dst)
	dst, err := w.w.Part(dst, i, values)
	if err != nil {
		return nil, r.Fail(internal())
	}
	w.parts = append(w.parts, hashOf(dst[from:]))
	return dst, nil
}

// Finish is the message that goes with the parts.
func (w *Writing) Finish(at int64) ([]byte, *Fault) {
	r := w.r
	if f := r.ready(at, Collecting, len(w.parts) == r.shape.Chunks); f != nil {
		return nil, f
	}
	out := &Contribution{Key: r.keyHash, Parts: w.parts}
	if r.shape.SecretBytes > 0 {
		for _, to := range r.p.Holders() {
			secret := w.w.Secret(to)
			text, err := sealTo(r.sealKeys[to], sealInfo(r.session, "secret", r.setup.Self, to), secret)
			clear(secret)
			if err != nil {
				return nil, r.Fail(internal())
			}
			out.Secrets = append(out.Secrets, Sealed{To: to, Text: text})
		}
	}
	return r.say(&Message{Kind: KindContribution, Contribution: out}, at)
}

// takeContribution checks a contribution's message, from its sender or in the manifest.
func (r *Round) takeContribution(m *Message, s Signed) *Fault {
	if f := r.turn(m, Collecting, r.p.Contributors); f != nil {
		return f
	}
	c := m.Contribution
	if c.Key != r.keyHash {
		return fault(m.From, codeEquivocation, "数据加密所用的密钥不是本轮的密钥", "its data are under another key than the round's")
	}
	if len(c.Parts) != r.shape.Chunks {
		return fault(m.From, codeChunk, "部分数与提案不符", "the number of its parts is not the proposal's")
	}
	var to []string
	if r.shape.SecretBytes > 0 {
		to = r.p.Holders()
	}
	if f := r.sealedTo(m.From, c.Secrets, to, r.shape.SecretBytes); f != nil {
		return f
	}
	// Every part is fresh randomness: what stands twice was copied.
	for other, before := range r.contributions {
		if other != m.From && slices.ContainsFunc(c.Parts, func(h string) bool { return slices.Contains(before.Parts, h) }) {
			return fault(m.From, codeChunk, "与“%s”的数据有相同部分", "a part of its data is one of %s", other)
		}
	}
	r.contributions[m.From], r.signed[m.From] = c, s
	return nil
}

// Manifest lists the contributions, for the aggregator: once all are there. decryptors
// are the regulator and as many departments as the threshold, in order.
func (r *Round) Manifest(decryptors []string, at int64) ([]byte, *Fault) {
	if f := r.ready(at, Collecting, r.setup.Self == r.p.Aggregator); f != nil {
		return nil, f
	}
	m := &Manifest{Key: r.keyHash, Decryptors: decryptors}
	for _, c := range r.p.Contributors {
		if s, ok := r.signed[c]; ok {
			m.Contributions = append(m.Contributions, s)
		}
	}
	return r.say(&Message{Kind: KindManifest, Manifest: m}, at)
}

// takeManifest checks the list of what is to be opened: every contributor of the proposal
// once, under the round's key, signed by itself. A shorter list is refused: opening a
// subset would isolate who is missing from it.
func (r *Round) takeManifest(m *Message, s Signed, at int64) *Fault {
	if f := r.turn(m, Collecting, []string{r.p.Aggregator}); f != nil {
		return f
	}
	v := m.Manifest
	if v.Key != r.keyHash {
		return fault(m.From, codeEquivocation, "清单所列密钥不是本轮的密钥", "the manifest is of another key than the round's")
	}
	if len(v.Contributions) != len(r.p.Contributors) {
		return fault(m.From, codeFew, "清单缺少参与方或有多余；只打开全部参与方之和", "the manifest does not list every contributor once; nothing but the sum of all is opened")
	}
	for i, one := range v.Contributions {
		c, err := DecodeMessage(one.Text)
		if err != nil || c.Kind != KindContribution || c.From != r.p.Contributors[i] || c.Session != r.session {
			return fault(m.From, codeFew, "清单第 %d 项不是该参与方的数据", "entry %d of the manifest is not its contributor's", i+1)
		}
		if c.From != r.setup.Self || r.texts[KindContribution][c.From] != hashOf(one.Text) {
			if r.setup.Verify(c.From, one.Text, one.Sig) != nil {
				return fault(m.From, codeSignature, "清单第 %d 项的签名无效", "the signature of entry %d of the manifest does not verify", i+1)
			}
		}
		if f := r.take(c, one, at); f != nil {
			return f
		}
	}
	if len(v.Decryptors) != r.p.Decryptors() || v.Decryptors[0] != r.p.Regulator || !ordered(v.Decryptors[1:]) ||
		slices.ContainsFunc(v.Decryptors[1:], func(d string) bool { return !slices.Contains(r.p.Departments, d) }) {
		return fault(m.From, codeFew, "解密方须为主管部门和恰好门限数的部门", "those who decrypt are the regulator and exactly as many departments as the threshold")
	}
	r.active, r.manifest = v.Decryptors, digest("manifest", s.Text)
	if f := r.unsealSecrets(); f != nil {
		return f
	}
	r.phase = Opening
	if r.needsSum() {
		r.phase = Summing
		r.sum = r.key.Sum(r.setup.Self == r.p.Regulator)
	}
	return nil
}

// Decrypts says whether this party makes a decryption share, once the manifest is there.
func (r *Round) Decrypts() bool { return r.Decrypting(r.setup.Self) }

// Decrypting says whether a party makes a decryption share, once the manifest is there.
func (r *Round) Decrypting(party string) bool { return slices.Contains(r.active, party) }

// needsSum says whether this party must see the parts.
func (r *Round) needsSum() bool {
	return r.Decrypts() && (r.shape.EveryHolderSums || r.setup.Self == r.p.Regulator)
}

// unsealSecrets reads what contributors told this holder.
func (r *Round) unsealSecrets() *Fault {
	if r.shape.SecretBytes == 0 || !r.Decrypts() {
		return nil
	}
	at := slices.Index(r.p.Holders(), r.setup.Self)
	for _, from := range r.p.Contributors {
		secret, err := openSealed(r.seal, sealInfo(r.session, "secret", from, r.setup.Self), r.contributions[from].Secrets[at].Text)
		if err != nil || len(secret) != r.shape.SecretBytes {
			return fault(from, codeKey, "发给本节点的密封内容无法解封", "what it sealed for this node cannot be unsealed")
		}
		r.secrets[from] = secret
	}
	return nil
}
