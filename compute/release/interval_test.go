package release

import (
	"math/big"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// An estimate beyond an edge must not come with an interval that has shrunk to
// the edge: that would claim certainty where noise prevails.
func TestIntervalAtTheEdge(t *testing.T) {
	for _, c := range []struct {
		f                   algebra.Func
		noisy, half         int64
		wantV, wantL, wantH int64
	}{
		{algebra.CountRows, -300, 47, 0, 0, 47},
		{algebra.CountRows, -3, 47, 0, 0, 47},
		{algebra.CountRows, 20, 47, 20, 0, 67},
		{algebra.CountRows, 100, 47, 100, 53, 147},
		{algebra.Sum, -300, 47, -300, -347, -253},
	} {
		v := estimate(c.f, big.NewInt(c.noisy), big.NewInt(c.half))
		if v.num.Int64() != c.wantV || v.lo.Int64() != c.wantL || v.hi.Int64() != c.wantH {
			t.Errorf("%s %d ± %d: got %v [%v, %v], want %d [%d, %d]", c.f, c.noisy, c.half, v.num, v.lo, v.hi, c.wantV, c.wantL, c.wantH)
		}
	}
	v := value{num: big.NewInt(130), lo: big.NewInt(110), hi: big.NewInt(160)}
	v.within(big.NewInt(0), big.NewInt(100))
	if v.num.Int64() != 100 || v.lo.Int64() != 80 || v.hi.Int64() != 100 {
		t.Errorf("above the range: got %v [%v, %v], want 100 [80, 100]", v.num, v.lo, v.hi)
	}
}
