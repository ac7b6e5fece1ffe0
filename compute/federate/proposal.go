package federate

import (
	"math/big"
	"regexp"
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/release"
)

// Limits of a round.
const (
	MaxCells        = 1 << 20 // 24 bytes of each in a holder's memory
	MaxContributors = 64
	MaxDepartments  = 32
	MaxColumns      = 512
	MaxProposal     = 1 << 18 // bytes
	// MinContributors is the least k of any round: of a sum of two, each finds the other's.
	MinContributors = 3
	// MaxBound bounds the magnitude of one contributor's value of a cell.
	MaxBound = 1 << 56
	// MinShareVariance is the least variance of one decryptor's noise: from σ = 4 on, a sum
	// of discrete Gaussians is as good as one of the summed variance (Kairouz, Liu, Steinke,
	// "The Distributed Discrete Gaussian Mechanism", 2021, Theorem 1).
	MinShareVariance = 16
)

// Scheme names of a proposal.
const (
	BGV  = "bgv"
	Mask = "mask"
)

// Column is a run of cells with one declared range: the values of one measure, key by
// key in the order of the common code lists.
type Column struct {
	Name  string `json:"name"`
	Cells int    `json:"cells"` // 1…MaxCells, of all columns together
	// Low and High bound every contributor's value of every cell, |x| ≤ MaxBound.
	Low  int64 `json:"low"`
	High int64 `json:"high"`
}

// Noise is what a round adds to every cell.
type Noise struct {
	// Sigma2 is the variance that is left when Dishonest decryptors take theirs out again.
	Sigma2 *big.Int `json:"sigma2"`
	// Sensitivity2 is the square of the L2 distance that one privacy unit moves all cells of
	// all contributors together, at most.
	Sensitivity2 *big.Int `json:"sensitivity2"`
	// Dishonest is the number c of decryptors whose noise is not counted on, 0 ≤ c < all.
	Dishonest int `json:"dishonest"`
}

// Proposal is what a round is about. Its digest is the session; the nonce makes every
// round another one.
type Proposal struct {
	V     int    `json:"v"`
	Nonce string `json:"nonce"` // 32 random bytes, hex
	// Scheme is BGV or Mask.
	Scheme string `json:"scheme"`
	// Query is the digest of the protected aggregation and of the period it is about: rounds
	// of one query are rounds about the same data.
	Query string `json:"query"`
	// Schema is the digest of the common columns, code lists and clamps. A domain whose own
	// differs refuses.
	Schema       string   `json:"schema"`
	Columns      []Column `json:"columns"`
	Contributors []string `json:"contributors"` // in order, each once
	// Regulator holds a share of the key that nothing is opened without, and puts the
	// decryption shares together: the raw sum is seen by nobody else.
	Regulator string `json:"regulator"`
	// Departments hold the rest, Threshold of them needed; in order, each once. With Mask
	// all are needed.
	Departments []string `json:"departments"`
	Threshold   int      `json:"threshold"`
	// Aggregator carries messages and parts, and holds no share of a key.
	Aggregator string `json:"aggregator"`
	Receiver   string `json:"receiver"` // of the release
	// MinContributors is k: fewer are not added up, and no two sums about the same data may
	// tell fewer apart.
	MinContributors int   `json:"min_contributors"`
	Noise           Noise `json:"noise"`
	// Deadline ends the round, in Unix seconds.
	Deadline int64 `json:"deadline"`
}

// Encode is the proposal in its canonical form.
func (p *Proposal) Encode() []byte { return canonical(p) }

// Session is the digest of the proposal, which every message of the round carries.
func (p *Proposal) Session() string { return digest("session", p.Encode()) }

// DecodeProposal reads canonical bytes and checks what they say. The error is a Fault of
// nobody in particular: whoever signed the bytes is to blame.
func DecodeProposal(text []byte) (*Proposal, *Fault) {
	if len(text) > MaxProposal {
		return nil, fault("", codeMessage, "提案超过 %d 字节", "the proposal has more than %d bytes", MaxProposal)
	}
	p, err := decode[Proposal](text)
	if err != nil {
		return nil, fault("", codeMessage, "提案不是规范格式", "the proposal is not in canonical form")
	}
	if f := p.Check(); f != nil {
		return nil, f
	}
	return p, nil
}

var (
	partyPattern = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	namePattern  = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,127}$`)
)

// Cells is the number of cells of a contribution.
func (p *Proposal) Cells() int {
	n := 0
	for _, c := range p.Columns {
		n += c.Cells
	}
	return n
}

// Holders are the regulator and the departments that hold a share of the key.
func (p *Proposal) Holders() []string { return append([]string{p.Regulator}, p.Departments...) }

// Decryptors is the number of holders that open the sum.
func (p *Proposal) Decryptors() int { return 1 + p.Threshold }

// Parties are contributors and holders, in order, each once: those that answer.
func (p *Proposal) Parties() []string {
	all := append(p.Holders(), p.Contributors...)
	slices.Sort(all)
	return slices.Compact(all)
}

// ShareVariance is the variance of each decryptor's noise, ⌈σ²/(decryptors − c)⌉: what is
// left without any c of them is σ² at least.
func (p *Proposal) ShareVariance() *big.Int {
	return ceil(p.Noise.Sigma2, big.NewInt(int64(p.Decryptors()-p.Noise.Dishonest)))
}

// NoiseBound is the greatest magnitude of all decryptors' noise in one cell.
func (p *Proposal) NoiseBound() int64 {
	return int64(p.Decryptors()) * release.TailBound(p.ShareVariance())
}

// Price is the round's price, ⌈Δ²/2σ²⌉ in nano-ρ (Canonne, Kamath, Steinke 2020, Theorem
// 14), which every node debits before its decryption share leaves.
func (p *Proposal) Price() budget.Nano {
	num := new(big.Int).Mul(p.Noise.Sensitivity2, big.NewInt(1_000_000_000))
	return budget.Nano(ceil(num, new(big.Int).Lsh(p.Noise.Sigma2, 1)).Int64())
}

// SumBound is the greatest magnitude of a cell of the result, noise included.
func (p *Proposal) SumBound() *big.Int {
	most := big.NewInt(0)
	for _, c := range p.Columns {
		for _, x := range []int64{c.Low, c.High} {
			if v := new(big.Int).Abs(big.NewInt(x)); v.Cmp(most) > 0 {
				most = v
			}
		}
	}
	most.Mul(most, big.NewInt(int64(len(p.Contributors))))
	return most.Add(most, big.NewInt(p.NoiseBound()))
}

func ceil(a, b *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(a, b, new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}
