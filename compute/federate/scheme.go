package federate

import (
	"hash"
	"io"
)

// Scheme is one way to add up what nobody may see. Its values are safe for concurrent
// use; what they make is for one goroutine each, unless said otherwise. Errors are a
// *Defect if what came from another party is wrong, and then the round names that party.
type Scheme interface {
	// Name is what a proposal calls the scheme.
	Name() string
	// Fit picks parameters in which no sum of the proposal can overflow.
	Fit(p *Proposal) (Shape, *Fault)
	// Holder makes this round's secret of a holder of the key.
	Holder(c Context, rnd io.Reader) (Holder, error)
	// CheckShare says whether a holder's public share of the key has the form of one, and what
	// it says of what the holder deals is sound as far as everybody can tell.
	CheckShare(c Context, from string, share []byte) error
	// Key joins the holders' public shares, in the order of Proposal.Holders.
	Key(c Context, shares [][]byte) (Key, error)
}

// Context is what all parties of a round agree on.
type Context struct {
	Proposal *Proposal
	Self     string
	// CRS is the common reference string: a hash of the session and every party's nonce.
	CRS [32]byte
}

// Shape is the size of everything of a round.
type Shape struct {
	Parameters string // their name, for people
	ChunkCells int    // cells of a part; the last may hold fewer
	Chunks     int    // parts of a contribution, and of a decryption share
	// Bytes of a part of a contribution and of a decryption share, and of the last ones.
	PartBytes, LastPartBytes   int
	ShareBytes, LastShareBytes int
	KeyShareBytes              int // of a public share of the key; the regulator's may be shorter
	DealBytes                  int // of what departments deal to each other; 0: nothing
	SecretBytes                int // of what a contributor sends each holder; 0: nothing
	// EveryHolderSums says that a holder needs the sum to answer, and not the regulator alone.
	EveryHolderSums bool
}

// Part is the number of bytes of part i of a contribution.
func (s Shape) Part(i int) int {
	if i == s.Chunks-1 {
		return s.LastPartBytes
	}
	return s.PartBytes
}

// Share is the number of bytes of part i of a decryption share.
func (s Shape) Share(i int) int {
	if i == s.Chunks-1 {
		return s.LastShareBytes
	}
	return s.ShareBytes
}

// SealedShare is the number of bytes of part i of a decryption share on its way to the
// regulator; the first brings the encapsulated key.
func (s Shape) SealedShare(i int) int {
	if i == 0 {
		return s.Share(i) + SealOverhead
	}
	return s.Share(i) + tagBytes
}

// Holder is the secret of one holder, for one round.
type Holder interface {
	// KeyShare is the public share of the key; empty if the scheme has none.
	KeyShare() []byte
	// Deal is what this department tells another one alone, nil if nothing.
	Deal(to string) ([]byte, error)
	// Take is Deal's other end.
	Take(from string, deal []byte) error
	// Check holds what was taken from a department against its public share, which CheckShare
	// found sound. Only then it counts.
	Check(from string, share []byte) error
	// Open begins the one decryption share of this secret. sum may be nil if the shape does
	// not demand it; secrets are what contributors sent this holder; active are the
	// decryptors, in order; noise is this decryptor's part of the release's.
	Open(sum Sum, active []string, secrets map[string][]byte, noise Noise, rnd io.Reader) (Opener, error)
	// Wipe forgets the secret.
	Wipe()
}

// Noise draws a decryptor's noise of the cells, in their order.
type Noise interface {
	Fill(out []int64) error
	Wipe()
}

// Opener makes a decryption share part by part.
type Opener interface {
	// Share appends part i to dst, the parts in order and each once.
	Share(dst []byte, i int) ([]byte, error)
	Wipe()
}

// Key is the public key of a round. It is safe for concurrent use.
type Key interface {
	// Bytes identify the key.
	Bytes() []byte
	// Writer encrypts one contribution.
	Writer(rnd io.Reader) (Writer, error)
	// Sum adds contributions up; to open it afterwards all of it must be kept.
	Sum(open bool) Sum
}

// Writer encrypts one contribution, in parts.
type Writer interface {
	// Secret is what the holder must be told to open the contribution; nil if nothing.
	Secret(to string) []byte
	// Part appends part i of the contribution to dst. Values lie in their bounds.
	Part(dst []byte, i int, values []int64) ([]byte, error)
}

// Sum adds contributions up part by part, all parts i before part i+1.
type Sum interface {
	// Add reads a part strictly and adds it. After an error the sum is worth nothing.
	Add(i int, part []byte) error
	// Close ends part i and writes the sum of the parts to h.
	Close(i int, h hash.Hash)
	// AddShare adds part i of a decryption share to a sum that is being opened.
	AddShare(i int, share []byte) error
	// Values appends the cells of part i to dst, once all shares are in.
	Values(dst []int64, i int) ([]int64, error)
}

// Defect is what is wrong with something that another party made. It holds no value.
type Defect struct{ ZH, EN string }

// Error implements error in English.
func (d *Defect) Error() string { return d.EN }

// Chinese is the defect in Chinese.
func (d *Defect) Chinese() string { return d.ZH }
