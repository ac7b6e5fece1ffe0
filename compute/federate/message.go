package federate

import (
	"slices"

	"github.com/sandgate/sandgate/policies"
)

// Kind of a message.
type Kind string

// Kinds of messages, in the order in which they come.
const (
	KindAnswer       Kind = "answer"       // of every contributor and holder
	KindCommitment   Kind = "commitment"   // of every holder
	KindReveal       Kind = "reveal"       // of every holder
	KindContribution Kind = "contribution" // of every contributor, after its parts
	KindManifest     Kind = "manifest"     // of the aggregator
	KindShare        Kind = "share"        // of every decrypting department, after its parts
	KindResult       Kind = "result"       // of the regulator
	KindAbort        Kind = "abort"        // of anybody
)

// Message is what a party says. Its canonical bytes are signed (SigningBytes) and sent to
// all parties of the round; parts travel beside it and are bound by their digests.
type Message struct {
	V       int    `json:"v"`
	Session string `json:"session"`
	Kind    Kind   `json:"kind"`
	From    string `json:"from"`
	At      int64  `json:"at"` // Unix seconds, by the sender's clock

	Answer       *Answer       `json:"answer,omitempty"`
	Commitment   *Commitment   `json:"commitment,omitempty"`
	Reveal       *Reveal       `json:"reveal,omitempty"`
	Contribution *Contribution `json:"contribution,omitempty"`
	Manifest     *Manifest     `json:"manifest,omitempty"`
	Share        *Share        `json:"share,omitempty"`
	Result       *Result       `json:"result,omitempty"`
	Abort        *Abort        `json:"abort,omitempty"`
}

// Answer says whether a party takes part.
type Answer struct {
	Accept bool `json:"accept"`
	// Schema is the digest of the party's own columns, code lists and clamps.
	Schema string `json:"schema"`
	// Nonce goes into the common reference string; 32 random bytes, hex.
	Nonce   string            `json:"nonce"`
	Reasons []policies.Reason `json:"reasons,omitempty"` // of a refusal
}

// Commitment fixes a holder's share of the key before it sees another's.
type Commitment struct {
	Answers string `json:"answers"` // digest of all answers
	Share   string `json:"share"`   // digest of the share and its salt
	// Seal is the holder's public sealing key for this round.
	Seal []byte `json:"seal"`
}

// Reveal opens a Commitment. The share itself and the deals are attachments.
type Reveal struct {
	Commitments string `json:"commitments"` // digest of all commitments
	Salt        []byte `json:"salt"`
	Deals       []Deal `json:"deals,omitempty"` // to every other department
}

// Deal says what a department is dealt.
type Deal struct {
	To     string `json:"to"`
	Sealed string `json:"sealed"` // SHA-256 of the attachment, hex
}

// Attachment travels beside a Reveal: a share of the key, for everybody, or a deal, sealed
// to one department.
type Attachment struct {
	From, To string // To is empty if it is for everybody
	Bytes    []byte
}

// Sealed is something for the eyes of one holder.
type Sealed struct {
	To   string `json:"to"`
	Text []byte `json:"text"`
}

// Contribution says what a contributor's parts are.
type Contribution struct {
	Key     string   `json:"key"`               // digest of the key they are under
	Parts   []string `json:"parts"`             // SHA-256 of each, hex
	Secrets []Sealed `json:"secrets,omitempty"` // to every holder
}

// Manifest is the list of what is added up, and who opens it.
type Manifest struct {
	Key           string   `json:"key"`
	Contributions []Signed `json:"contributions"` // in the order of the contributors
	Decryptors    []string `json:"decryptors"`    // the regulator, then departments in order
}

// Share says what the parts of a decryption share are.
type Share struct {
	Manifest string   `json:"manifest"`      // digest of the manifest
	Sum      string   `json:"sum,omitempty"` // digest of the sum this holder computed
	Parts    []string `json:"parts"`         // SHA-256 of each sealed part, hex
}

// Result ends a round.
type Result struct {
	Manifest string `json:"manifest"`
	Sum      string `json:"sum"`
	Values   string `json:"values"` // SHA-256 of the noisy sums as 64-bit little-endian numbers, hex
	// Release is the digest of the delivery that the regulator handed in; empty if it did not.
	Release string `json:"release,omitempty"`
	// Content is the SHA-256 of the encoded release in that delivery: what a ledger commits to
	// is what the regulator signed.
	Content string `json:"content,omitempty"`
}

// Abort ends a round for a reason.
type Abort struct {
	Code  string `json:"code"`
	Party string `json:"party,omitempty"` // to blame
}

// check says whether exactly the body of the kind is there, and well-formed by itself.
func (m *Message) check() bool {
	bodies := map[Kind]bool{KindAnswer: m.Answer != nil, KindCommitment: m.Commitment != nil, KindReveal: m.Reveal != nil, KindContribution: m.Contribution != nil,
		KindManifest: m.Manifest != nil, KindShare: m.Share != nil, KindResult: m.Result != nil, KindAbort: m.Abort != nil}
	count := 0
	for _, there := range bodies {
		if there {
			count++
		}
	}
	if m.V != Version || !bodies[m.Kind] || count != 1 || !isHash(m.Session) || !partyPattern.MatchString(m.From) || m.At <= 0 {
		return false
	}
	hashes := func(all ...string) bool {
		return !slices.ContainsFunc(all, func(h string) bool { return !isHash(h) })
	}
	switch m.Kind {
	case KindAnswer:
		return hashes(m.Answer.Schema, m.Answer.Nonce) && (m.Answer.Accept || len(m.Answer.Reasons) > 0) && len(m.Answer.Reasons) <= 16
	case KindCommitment:
		return hashes(m.Commitment.Answers, m.Commitment.Share)
	case KindReveal:
		for _, d := range m.Reveal.Deals {
			if !hashes(d.Sealed) {
				return false
			}
		}
		return hashes(m.Reveal.Commitments) && len(m.Reveal.Salt) == saltBytes
	case KindContribution:
		return hashes(m.Contribution.Key) && hashes(m.Contribution.Parts...)
	case KindManifest:
		return hashes(m.Manifest.Key) && len(m.Manifest.Contributions) <= MaxContributors
	case KindShare:
		return hashes(m.Share.Manifest) && hashes(m.Share.Parts...) && (m.Share.Sum == "" || isHash(m.Share.Sum))
	case KindResult:
		return hashes(m.Result.Manifest, m.Result.Sum, m.Result.Values) && (m.Result.Release == "" && m.Result.Content == "" || hashes(m.Result.Release, m.Result.Content))
	}
	return len(m.Abort.Code) <= 63 && (m.Abort.Party == "" || partyPattern.MatchString(m.Abort.Party))
}

const saltBytes = 32

// Encode is the message in its canonical form.
func (m *Message) Encode() []byte { return canonical(m) }

// DecodeMessage reads canonical bytes. It verifies no signature; a Round does.
func DecodeMessage(text []byte) (*Message, error) {
	m, err := decode[Message](text)
	if err != nil {
		return nil, err
	}
	if !m.check() {
		return nil, errForm
	}
	return m, nil
}
