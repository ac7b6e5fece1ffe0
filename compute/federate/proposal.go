package federate

import (
	"io"
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

// Column is a run of cells with one declared range and noise of its own: the values of
// one measure, key by key in the order of the common code lists.
type Column struct {
	Name  string `json:"name"`
	Cells int    `json:"cells"` // 1…MaxCells, of all columns together
	// Low and High bound every contributor's value of every cell, |x| ≤ MaxBound.
	Low  int64 `json:"low"`
	High int64 `json:"high"`
	// Sigma2 is the variance of each sum's noise that is left when the dishonest decryptors
	// take theirs out again, up to 2^100.
	Sigma2 *big.Int `json:"sigma2"`
	// Sensitivity2 is the square of the L2 distance by which one privacy unit moves the
	// column's cells of all contributors together, at most.
	Sensitivity2 *big.Int `json:"sensitivity2"`
}

// Proposal is what a round is about. Its digest is the session; the nonce makes every
// round another one.
type Proposal struct {
	V     int    `json:"v"`
	Nonce string `json:"nonce"` // 32 random bytes, hex
	// Scheme is BGV or Mask.
	Scheme string `json:"scheme"`
	// Query is the DataDigest of what the round is about: rounds of one digest are held
	// against each other, whatever they ask.
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
	MinContributors int `json:"min_contributors"`
	// Dishonest is the number c of decryptors whose noise is not counted on, 0 ≤ c < all.
	Dishonest int `json:"dishonest"`
	// Deadline ends the round, in Unix seconds.
	Deadline int64 `json:"deadline"`
	// Brief is the BriefDigest of what travels beside the proposal; empty if nothing does.
	Brief string `json:"brief,omitempty"`
}

// DataDigest names data: a data set in a period. What is asked of them is not in it: the
// difference of two sums over nearly the same contributors is that of who is missing,
// whether or not the two were asked for in the same words.
func DataDigest(dataset, period string) string {
	return digest("data", []byte(dataset), []byte(period))
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

// ShareVariance is the variance of each decryptor's noise in a column, ⌈σ²/(decryptors −
// c)⌉: what is left without any c of them is σ² at least.
func (p *Proposal) ShareVariance(column int) *big.Int {
	return ceil(p.Columns[column].Sigma2, big.NewInt(int64(p.Decryptors()-p.Dishonest)))
}

// NoiseBound is the greatest magnitude of all decryptors' noise in a cell of a column.
func (p *Proposal) NoiseBound(column int) int64 {
	return int64(p.Decryptors()) * release.TailBound(p.ShareVariance(column))
}

// Price is the round's price, the sum over the columns of ⌈Δ²/2σ²⌉ in nano-ρ (Canonne,
// Kamath, Steinke 2020, Theorem 14, and composition), which every node debits before its
// decryption share is made.
func (p *Proposal) Price() budget.Nano {
	sum := budget.Nano(0)
	for _, c := range p.Columns {
		num := new(big.Int).Mul(c.Sensitivity2, big.NewInt(1_000_000_000))
		sum += budget.Nano(ceil(num, new(big.Int).Lsh(c.Sigma2, 1)).Int64())
	}
	return sum
}

// SumBound is the greatest magnitude of a cell of the result, noise included.
func (p *Proposal) SumBound() *big.Int {
	most := big.NewInt(0)
	for i, c := range p.Columns {
		wide := big.NewInt(max(c.High, -c.Low))
		wide.Mul(wide, big.NewInt(int64(len(p.Contributors)))).Add(wide, big.NewInt(p.NoiseBound(i)))
		if wide.Cmp(most) > 0 {
			most = wide
		}
	}
	return most
}

// noise draws one decryptor's noise of all cells, in their order.
type noise struct {
	columns []*release.NoiseShare
	left    []int // cells of each column that are still to come
}

func (p *Proposal) noise(rnd io.Reader) (*noise, error) {
	n := &noise{}
	for i, c := range p.Columns {
		s, err := release.NewNoiseShare(p.ShareVariance(i), rnd)
		if err != nil {
			return nil, err
		}
		n.columns, n.left = append(n.columns, s), append(n.left, c.Cells)
	}
	return n, nil
}

// Fill implements Noise.
func (n *noise) Fill(out []int64) error {
	for len(out) > 0 {
		if len(n.left) == 0 {
			return release.ErrKernel
		}
		here := out[:min(len(out), n.left[0])]
		if err := n.columns[0].Fill(here); err != nil {
			return err
		}
		out = out[len(here):]
		if n.left[0] -= len(here); n.left[0] == 0 {
			n.columns[0].Wipe()
			n.columns, n.left = n.columns[1:], n.left[1:]
		}
	}
	return nil
}

// Wipe implements Noise.
func (n *noise) Wipe() {
	for _, s := range n.columns {
		s.Wipe()
	}
	n.columns, n.left = nil, nil
}

func ceil(a, b *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(a, b, new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}
