package release

import (
	"bytes"
	"math/big"
	"testing"
)

// R02: a share of the noise has the variance it says, by table and without, and a
// generator that fails gives nothing.
func TestR02_NoiseShares(t *testing.T) {
	for _, sigma2 := range []*big.Int{big.NewInt(16), big.NewInt(10_000), big.NewInt(1 << 20), new(big.Int).Lsh(big.NewInt(1), 60)} {
		s, err := NewNoiseShare(sigma2, seeded(5))
		if err != nil {
			t.Fatal(err)
		}
		out := make([]int64, 20_000)
		for from := 0; from < len(out); from += 1000 {
			if err := s.Fill(out[from : from+1000]); err != nil {
				t.Fatal(err)
			}
		}
		sum := new(big.Int)
		for _, x := range out {
			if bound := TailBound(sigma2); x > bound || x < -bound {
				t.Fatal("a draw beyond its bound")
			}
			sum.Add(sum, new(big.Int).Mul(big.NewInt(x), big.NewInt(x)))
		}
		got, _ := new(big.Rat).SetFrac(sum, new(big.Int).Mul(sigma2, big.NewInt(int64(len(out))))).Float64()
		if got < 0.95 || got > 1.05 { // five standard deviations
			t.Errorf("σ²=%v: the draws' variance is %.3f of it", sigma2, got)
		}
		s.Wipe()
	}
	s, err := NewNoiseShare(big.NewInt(100), bytes.NewReader(bytes.Repeat([]byte{7}, 4096)))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int64, 10_000)
	if err := s.Fill(out); err == nil {
		t.Error("noise without randomness")
	}
	for _, x := range out {
		if x != 0 {
			t.Fatal("what was drawn before the failure is handed out")
		}
	}
	for _, bad := range []*big.Int{nil, new(big.Int), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 101)} {
		if _, err := NewNoiseShare(bad, seeded(1)); err == nil {
			t.Errorf("σ²=%v is taken", bad)
		}
	}
}
