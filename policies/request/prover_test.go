package request

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// eager makes tables at once.
func eager() *Prover {
	p := NewProver()
	p.after = 1
	return p
}

func judged(t testing.TB, s *Signed, key ed25519.PublicKey) bool {
	t.Helper()
	text, err := s.Statement.Bytes()
	if err != nil {
		return false
	}
	return ed25519.Verify(key, dsse.PAE(PayloadType, text), s.Sig)
}

// smallOrder are encodings of points of order 1, 2, 4 and 8, the canonical ones and others.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000", "0000000000000000000000000000000000000000000000000000000000000080",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// A Prover accepts what crypto/ed25519 accepts and nothing else, whatever is odd about
// key, point or scalar.
func TestR05_ProverJudgesAsEd25519(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	p := eager()
	var claims []Claim
	add := func(s Statement, sig []byte, key ed25519.PublicKey) {
		claims = append(claims, Claim{&Signed{Statement: s, Sig: sig}, key})
	}
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	for i := range 60 {
		s := statement()
		s.Request = hex.EncodeToString(sha(string(rune('a' + i))))[:32]
		one := signed(t, s)
		add(s, one.Sig, pub)
		bit := slices.Clone(one.Sig)
		bit[r.IntN(64)] ^= 1 << r.IntN(8)
		add(s, bit, pub)
		other := s
		other.Purpose = "another"
		add(other, one.Sig, pub)
		// S + L is the same scalar in another spelling.
		n := new(big.Int).SetBytes(reversed(one.Sig[32:]))
		add(s, append(slices.Clone(one.Sig[:32]), reversed(n.Add(n, order).FillBytes(make([]byte, 32)))...), pub)
		add(s, one.Sig[:63], pub)
		add(s, one.Sig, pub[:31])
		// R beside the subgroup: valid to whoever multiplies by the cofactor.
		torsion, _ := hex.DecodeString(smallOrder[r.IntN(6)])
		add(s, beside(t, s, torsion), pub)
		small, _ := hex.DecodeString(smallOrder[i%len(smallOrder)])
		zero := append(slices.Clone(small), make([]byte, 32)...)
		add(s, zero, small)
		add(s, append(append([]byte{1}, make([]byte, 31)...), make([]byte, 32)...), small)
	}
	p.Prove(claims)
	good, bad := 0, 0
	for i, c := range claims {
		want := len(c.Key) == ed25519.PublicKeySize && judged(t, c.Signed, c.Key)
		if got := c.Signed.proof != nil; got != want {
			t.Errorf("claim %d (kind %d): proved %v, ed25519 says %v", i, i%9, got, want)
		}
		if want {
			good++
		} else {
			bad++
		}
		if err := c.Signed.Verify(c.Key); (err == nil) != want {
			t.Errorf("claim %d: %v", i, err)
		}
	}
	if good < 60 || bad < 300 {
		t.Errorf("%d good and %d bad signatures: the test tests little", good, bad)
	}
}

func sha512Of(parts ...[]byte) []byte {
	sum := sha512.Sum512(bytes.Join(parts, nil))
	return sum[:]
}

func reversed(b []byte) []byte {
	out := slices.Clone(b)
	slices.Reverse(out)
	return out
}

// beside signs with a point R that has a component of small order.
func beside(t testing.TB, s Statement, torsion []byte) []byte {
	t.Helper()
	text, err := s.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	wide := func(parts ...[]byte) *edwards25519.Scalar {
		out, err := edwards25519.NewScalar().SetUniformBytes(sha512Of(parts...))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	small, err := new(edwards25519.Point).SetBytes(torsion)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(sha512Of(seed)[:32])
	if err != nil {
		t.Fatal(err)
	}
	nonce := wide([]byte("nonce"), text)
	point := new(edwards25519.Point).ScalarBaseMult(nonce)
	point.Add(point, small)
	k := wide(point.Bytes(), pub, dsse.PAE(PayloadType, text))
	return append(point.Bytes(), edwards25519.NewScalar().MultiplyAdd(k, secret, nonce).Bytes()...)
}

// Positive control: such signatures do satisfy the equation with cofactor.
func TestBesideTheSubgroupHoldsWithCofactor(t *testing.T) {
	torsion, _ := hex.DecodeString(smallOrder[4])
	s := statement()
	sig := beside(t, s, torsion)
	text, _ := s.Bytes()
	a, err := new(edwards25519.Point).SetBytes(pub)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := edwards25519.NewScalar().SetUniformBytes(sha512Of(sig[:32], pub, dsse.PAE(PayloadType, text)))
	n, _ := edwards25519.NewScalar().SetCanonicalBytes(sig[32:])
	r, _ := new(edwards25519.Point).SetBytes(sig[:32])
	d := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(k, new(edwards25519.Point).Negate(a), n)
	d.Subtract(d, r)
	if d.Equal(edwards25519.NewIdentityPoint()) == 1 || d.MultByCofactor(d).Equal(edwards25519.NewIdentityPoint()) != 1 {
		t.Error("the signature is not beside the subgroup")
	}
}

// What was proved is proved of those very bytes and that key.
func TestAttack_AProofCoversNothingElse(t *testing.T) {
	p := eager()
	fresh := func() *Signed {
		s := signed(t, statement())
		p.Prove([]Claim{{s, pub}})
		if s.proof == nil {
			t.Fatal("not proved")
		}
		return s
	}
	if err := fresh().Verify(pub); err != nil {
		t.Error(err)
	}
	other := ed25519.NewKeyFromSeed(sha("beta")).Public().(ed25519.PublicKey)
	if fresh().Verify(other) == nil {
		t.Error("another key")
	}
	for name, change := range map[string]func(*Signed){
		"origin": func(s *Signed) { s.Statement.Origin = "elsewhere" }, "party": func(s *Signed) { s.Statement.Party = "beta" }, "official": func(s *Signed) { s.Statement.Official = "" },
		"method": func(s *Signed) { s.Statement.Method = MethodVerify }, "request": func(s *Signed) { s.Statement.Request = "x" }, "licence": func(s *Signed) { s.Statement.Licence = "x" },
		"purpose": func(s *Signed) { s.Statement.Purpose = "x" }, "term": func(s *Signed) { s.Statement.Terms[TermPrice] = "1" }, "issued": func(s *Signed) { s.Statement.IssuedAt-- },
		"not after": func(s *Signed) { s.Statement.NotAfter++ }, "body": func(s *Signed) { s.Statement.Body = "" }, "signature": func(s *Signed) { s.Sig[40] ^= 1 }, "version": func(s *Signed) { s.Statement.V = 2 },
	} {
		s := fresh()
		change(s)
		if s.Verify(pub) == nil {
			t.Errorf("%s changed after the proof", name)
		}
	}
}

// Bytes is the encoding that encoding/json makes without escaping HTML.
func TestBytesAreJSON(t *testing.T) {
	for _, s := range []Statement{statement(), {V: 1, Origin: "o<&>", Party: "p", Method: "m", Request: "r", IssuedAt: 1, NotAfter: 1},
		{V: 1, Origin: "o", Party: "p", Method: "m", Request: "r", Terms: map[string]string{"b": "2", "a": "1", "c.d": "~"}, IssuedAt: 1, NotAfter: 1}} {
		got, err := s.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil || string(got)+"\n" != buf.String() {
			t.Errorf("%s, want %s", got, buf.Bytes())
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	const n = 256
	var claims []Claim
	for range n {
		claims = append(claims, Claim{signed(b, statement()), pub})
	}
	b.Run("ed25519", func(b *testing.B) {
		for range b.N {
			for _, c := range claims {
				judged(b, c.Signed, pub)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*b.N), "µs/signature")
	})
	b.Run("prover", func(b *testing.B) {
		p := eager()
		p.Prove(claims)
		b.ResetTimer()
		for range b.N {
			p.Prove(claims)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*b.N), "µs/signature")
	})
}
