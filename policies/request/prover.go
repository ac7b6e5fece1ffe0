package request

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"maps"
	"slices"

	"filippo.io/edwards25519"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// proof remembers that a signature was verified in this process: what was signed,
// and by which key. It is never read from anywhere.
type proof struct {
	statement Statement
	sig       [ed25519.SignatureSize]byte
	key       [ed25519.PublicKeySize]byte
}

// covers says whether s is still what was verified under a key.
func (p *proof) covers(s *Signed, key []byte) bool {
	a, b := p.statement, s.Statement
	if !maps.Equal(a.Terms, b.Terms) || !bytes.Equal(p.sig[:], s.Sig) || !bytes.Equal(p.key[:], key) {
		return false
	}
	return a.V == b.V && a.Origin == b.Origin && a.Party == b.Party && a.Official == b.Official && a.Method == b.Method && a.Request == b.Request &&
		a.Licence == b.Licence && a.Purpose == b.Purpose && a.IssuedAt == b.IssuedAt && a.NotAfter == b.NotAfter && a.Body == b.Body
}

// Claim is a signed request with the key that is thought to be its party's.
type Claim struct {
	Signed *Signed
	Key    []byte
}

// Prover verifies many signatures of few keys, which is what a ledger holds. A
// signature that it finds good is verified at once by the next Verify under the same
// key; of any other it leaves no trace, so Verify judges it alone.
//
// It computes what crypto/ed25519 does, R = [S]B − [k]A without cofactor, compared
// byte by byte with R as it stands in the signature, from tables of multiples of A
// and B: what it accepts, crypto/ed25519 accepts. It is not safe for concurrent use.
type Prover struct {
	after int // tableAfter
	keys  map[[ed25519.PublicKeySize]byte]*signer
}

// signer is a key that was met.
type signer struct {
	met   int
	table *multiples // nil until met often enough, or when it is no point
}

const (
	// tableAfter is how often a key is met before its table, which takes as long as some
	// thirty verifications and 0.5 MB, is worth making; mostTables bounds the memory.
	tableAfter = 200
	mostTables = 16
	// window of the tables in bits: digits are −2^(window−1) … 2^(window−1). Nine save a
	// tenth of the additions, and lose twice that where tables no longer fit the cache.
	window  = 8
	windows = 32 // of 8 bits, for a scalar below 2^253 and its carry
	digits  = 1 << (window - 1)
)

// recode writes a scalar in signed digits.
func recode(s *edwards25519.Scalar) (out [windows]int32) {
	var b [40]byte
	copy(b[:], s.Bytes())
	carry := int32(0)
	for i := range out {
		at := i * window
		v := uint32(b[at/8]) | uint32(b[at/8+1])<<8 | uint32(b[at/8+2])<<16
		d := int32(v>>(at%8)&(1<<window-1)) + carry
		carry = 0
		if d > digits {
			d, carry = d-1<<window, 1
		}
		out[i] = d
	}
	return out
}

// NewProver returns a Prover that knows no key.
func NewProver() *Prover {
	return &Prover{after: tableAfter, keys: map[[ed25519.PublicKeySize]byte]*signer{}}
}

// Prove verifies the claims whose keys it has tables of, and puts claims in another
// order. Nobody else may use them meanwhile.
func (p *Prover) Prove(claims []Claim) {
	// Those of one key after each other: its table stays in the cache.
	slices.SortStableFunc(claims, func(a, b Claim) int { return bytes.Compare(a.Key, b.Key) })
	var todo []Claim
	var results []*sum
	for _, c := range claims {
		if c.Signed == nil || len(c.Key) != ed25519.PublicKeySize || len(c.Signed.Sig) != ed25519.SignatureSize {
			continue
		}
		table := p.table(c.Key)
		if table == nil {
			continue
		}
		if r := rOf(c, table); r != nil {
			todo, results = append(todo, c), append(results, r)
		}
	}
	encoded := encode(results)
	for i, c := range todo {
		if !bytes.Equal(encoded[i][:], c.Signed.Sig[:32]) {
			continue
		}
		c.Signed.proof = &proof{statement: c.Signed.Statement, sig: [ed25519.SignatureSize]byte(c.Signed.Sig), key: [ed25519.PublicKeySize]byte(c.Key)}
		c.Signed.proof.statement.Terms = maps.Clone(c.Signed.Statement.Terms)
	}
}

func (p *Prover) table(key ed25519.PublicKey) *multiples {
	id := [ed25519.PublicKeySize]byte(key)
	k := p.keys[id]
	if k == nil {
		if len(p.keys) >= 1<<16 {
			return nil // no ledger has so many parties
		}
		k = &signer{}
		p.keys[id] = k
	}
	if k.met++; k.met == p.after {
		made := 0
		for _, other := range p.keys {
			if other.table != nil {
				made++
			}
		}
		if a, err := edwards25519.NewIdentityPoint().SetBytes(key); err == nil && made < mostTables {
			k.table = multiplesOf(a)
		}
	}
	return k.table
}

// rOf is [S]B − [k]A, nil when the signature is none.
func rOf(c Claim, a *multiples) *sum {
	text, err := c.Signed.Statement.Bytes()
	if err != nil {
		return nil
	}
	s, err := edwards25519.NewScalar().SetCanonicalBytes(c.Signed.Sig[32:])
	if err != nil {
		return nil
	}
	h := sha512.New()
	h.Write(c.Signed.Sig[:32])
	h.Write(c.Key)
	h.Write(dsse.PAE(PayloadType, text))
	k, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	if err != nil {
		return nil
	}
	b := baseMultiples()
	sd, kd := recode(s), recode(k)
	r := newSum()
	for i := range windows {
		r.add(b[i], sd[i])
		r.add(a[i], -kd[i])
	}
	return r
}
