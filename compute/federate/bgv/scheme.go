// Package bgv adds up under the lattice encryption BGV (Brakerski, Gentry, Vaikuntanathan
// 2012), with ring arithmetic, samplers and secret sharing of lattigo v6.2.0. The key is
// the sum of the regulator's secret and the departments' secrets; the latter are shared
// t-of-n (Mouchet, Bertrand, Hubaux 2022), so that nothing is opened without the
// regulator and without t departments. Sums are exact integers: parameters are chosen so
// that they cannot overflow.
//
// Decryption shares hide the noise of the ciphertext under a flood of this package's own,
// uniform in ±2^108 and drawn from the caller's source of randomness, and hold the
// decryptor's part of the release's noise. One secret makes one share, ever.
package bgv

import (
	"errors"
	"io"
	"math/big"

	"github.com/sandgate/sandgate/compute/federate"
)

// Scheme is the BGV scheme. Make it by New.
type Scheme struct{ sets []*params }

// New checks all parameters against the security table and returns the scheme.
func New() (*Scheme, error) {
	s := &Scheme{}
	for _, one := range sets {
		p, err := newParams(one)
		if err != nil {
			return nil, err
		}
		s.sets = append(s.sets, p)
	}
	return s, nil
}

// Name is federate.BGV.
func (*Scheme) Name() string { return federate.BGV }

const (
	polyBytes = limbs * n * 8
	partBytes = 2 * polyBytes
)

// pick returns the smallest set that holds the proposal's sums; nil if none does.
func (s *Scheme) pick(p *federate.Proposal) *params {
	if !drowned(len(p.Contributors), len(p.Holders()), p.Cells()) {
		return nil
	}
	for _, one := range s.sets {
		if one.fits(p.SumBound(), len(p.Contributors), len(p.Holders()), p.Decryptors()) {
			return one
		}
	}
	return nil
}

// Fit implements federate.Scheme.
func (s *Scheme) Fit(p *federate.Proposal) (federate.Shape, *federate.Fault) {
	one := s.pick(p)
	if one == nil {
		return federate.Shape{}, federate.TooWide(p)
	}
	deal := 0
	if len(p.Departments) > 1 {
		deal = polyBytes
	}
	return federate.Shape{Parameters: one.name, ChunkCells: n, Chunks: (p.Cells() + n - 1) / n, PartBytes: partBytes, LastPartBytes: partBytes,
		ShareBytes: polyBytes, LastShareBytes: polyBytes, KeyShareBytes: polyBytes + proofBytes(p), DealBytes: deal, EveryHolderSums: true}, nil
}

var errRandom = errors.New("failed to read randomness")

// full reads all or panics with errRandom: the samplers of the library have no other way
// to fail, and some take a short read for a whole one.
type full struct{ r io.Reader }

func (f full) Read(p []byte) (int, error) {
	if _, err := io.ReadFull(f.r, p); err != nil {
		panic(errRandom)
	}
	return len(p), nil
}

// caught turns errRandom into an error. Every other panic is a fault of the program.
func caught(err *error) {
	if x := recover(); x != nil {
		if x != errRandom {
			panic(x)
		}
		*err = errRandom
	}
}

func defect(zh, en string) error { return &federate.Defect{ZH: zh, EN: en} }

func (s *Scheme) params(c federate.Context) (*params, error) {
	p := s.pick(c.Proposal)
	if p == nil {
		return nil, errors.New("no parameters hold the sums of the proposal")
	}
	return p, nil
}

// limit is the greatest magnitude that an honest decryption has.
func (p *params) limit(pr *federate.Proposal) *big.Int {
	return p.budget(pr.SumBound(), len(pr.Contributors), len(pr.Holders()), pr.Decryptors())
}
