package masking

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
)

var text = algebra.Type{Kind: algebra.Text}

func mustNew(t testing.TB, op string, p Params) Operator {
	t.Helper()
	o, err := New(op, p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// randomID returns a valid identity number.
func randomID(r *rand.Rand) string {
	s := fmt.Sprintf("%06d%04d%02d%02d%03d", 110000+r.IntN(710000), 1900+r.IntN(126),
		1+r.IntN(12), 1+r.IntN(28), r.IntN(1000))
	return s + string(CitizenIDCheck(s))
}

// TestCitizenIDDetectsSingleErrors: MOD 11-2 finds every single wrong character
// and every swap of two adjacent different ones.
func TestCitizenIDDetectsSingleErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		id := randomID(r)
		if CitizenID(id) != OK {
			t.Fatalf("generated number is %v", CitizenID(id))
		}
		for i := range 18 {
			for _, c := range []byte("0123456789X") {
				if c == id[i] || c == 'X' && i < 17 {
					continue
				}
				if bad := id[:i] + string(c) + id[i+1:]; CitizenID(bad) == OK {
					t.Fatalf("wrong character at %d passes", i)
				}
			}
			if i < 16 && id[i] != id[i+1] {
				if bad := id[:i] + string(id[i+1]) + string(id[i]) + id[i+2:]; CitizenID(bad) == OK {
					t.Fatalf("swap at %d passes", i)
				}
			}
		}
	}
}

func TestCreditCodeDetectsSingleErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		b := []byte("91239902")
		for len(b) < 17 {
			b = append(b, creditAlphabet[r.IntN(31)])
		}
		code := string(b) + string(CreditCodeCheck(string(b)))
		if CreditCode(code) != OK {
			t.Fatalf("generated code is %v", CreditCode(code))
		}
		for i := range 18 {
			for _, c := range []byte(creditAlphabet) {
				if c != code[i] && CreditCode(code[:i]+string(c)+code[i+1:]) == OK {
					t.Fatalf("wrong character at %d passes", i)
				}
			}
		}
	}
}

func TestLuhnDetectsSingleErrors(t *testing.T) {
	const card = "4111111111111111"
	for i := range card {
		for c := byte('0'); c <= '9'; c++ {
			if c != card[i] && BankCard(card[:i]+string(c)+card[i+1:]) != CheckFailed {
				t.Fatalf("wrong digit at %d passes", i)
			}
		}
	}
}

func TestCheckCharactersRefuseOtherInput(t *testing.T) {
	for _, s := range []string{"", "1234567890123456", "123456789012345678", "1234567890123456x", "1234567890123456Z"} {
		if CitizenIDCheck(s) != 0 {
			t.Errorf("CitizenIDCheck of %d characters is not 0", len(s))
		}
		if CreditCodeCheck(s) != 0 {
			t.Errorf("CreditCodeCheck of %d characters is not 0", len(s))
		}
	}
}

// TestDisplayMaskHidesMiddle: the birth date of an identity number and the
// middle of phone and card never show.
func TestDisplayMaskHidesMiddle(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	id, phone, card := mustNew(t, OpID, Params{Type: text}), mustNew(t, OpPhone, Params{Type: text}), mustNew(t, OpCard, Params{Type: text})
	for range 2000 {
		n := randomID(r)
		if out, null := id.Apply(n); null || out != n[:6]+"********"+n[14:] {
			t.Fatalf("id mask of a valid number has the wrong shape: %d characters", len(out))
		}
		p := fmt.Sprintf("1%d%09d", 3+r.IntN(7), r.IntN(1e9))
		if out, null := phone.Apply(p); null || out != p[:3]+"****"+p[7:] {
			t.Fatal("phone mask has the wrong shape")
		}
		c := fmt.Sprintf("62%014d", r.Int64N(1e14))
		if out, null := card.Apply(c); null || out[6:12] != "******" || out[:6] != c[:6] || out[12:] != c[12:] {
			t.Fatal("card mask has the wrong shape")
		}
	}
}

// FuzzDisplayMasks: whatever comes in, a display mask shows at most the
// characters it declares, and never the whole value.
func FuzzDisplayMasks(f *testing.F) {
	for _, s := range []string{"", "张三", "欧阳娜娜", "34052419800101001X", "340524800101001", "15400001234",
		"+8615400001234", "4111111111111111", "阿依古丽·买买提", "\xff\xfe", "a\x00b", "****", strings.Repeat("张", 40)} {
		f.Add(s)
	}
	shown := map[string]int{OpName: 2, OpID: 10, OpPhone: 7, OpCard: 10}
	f.Fuzz(func(t *testing.T, v string) {
		for op, most := range shown {
			out, null := mustNew(t, op, Params{Type: text}).Apply(v)
			if null || !utf8.ValidString(out) {
				t.Fatalf("%s: null or invalid text", op)
			}
			clear := strings.NewReplacer("*", "", "·", "").Replace(out)
			if n := utf8.RuneCountInString(clear); n > most {
				t.Fatalf("%s shows %d characters, at most %d allowed", op, n, most)
			}
			if out == v && strings.Trim(v, "*") != "" {
				t.Fatalf("%s passed the value through", op)
			}
			if !strings.Contains(out, "*") {
				t.Fatalf("%s hides nothing", op)
			}
		}
	})
}

// FuzzNormaliseCitizenID: normalising is idempotent and only ever yields the
// canonical shape.
func FuzzNormaliseCitizenID(f *testing.F) {
	for _, s := range []string{"", "11010519491231002x", "110105491231002", "110105491231999", "11010519491231002", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		n, ok := NormaliseCitizenID(v)
		if !ok {
			if CitizenID(v) != Malformed {
				t.Fatal("refused a canonical number")
			}
			return
		}
		if again, ok := NormaliseCitizenID(n); !ok || again != n || len(n) != 18 {
			t.Fatal("not idempotent")
		}
		if len(v) == 15 && CitizenID(n) == CheckFailed {
			t.Fatal("computed check character is wrong")
		}
	})
}

// FuzzOperators: no operator panics on any value, and its result is canonical
// for the type OutType promised.
func FuzzOperators(f *testing.F) {
	f.Add("1949-12-31")
	f.Add("239902")
	f.Add("")
	f.Add("0000-00-00")
	f.Add("9999-12-31\n")
	date := algebra.Type{Kind: algebra.Date}
	ops := []struct {
		op string
		p  Params
	}{
		{OpYear, Params{Type: date}}, {OpMonth, Params{Type: date}},
		{OpArea, Params{Type: text, Digits: 2}}, {OpArea, Params{Type: text, Digits: 4}}, {OpArea, Params{Type: text, Digits: 6}},
		{OpDrop, Params{Type: text}}, {OpNull, Params{Type: date}},
		{OpPseudonym, Params{Type: text, Key: make([]byte, MinKey)}},
	}
	f.Fuzz(func(t *testing.T, v string) {
		for _, o := range ops {
			out, null := mustNew(t, o.op, o.p).Apply(v)
			if null != (out == "") {
				t.Fatalf("%s: null=%v with %d characters", o.op, null, len(out))
			}
			typ, _, err := OutType(o.op, o.p)
			if err != nil {
				t.Fatal(err)
			}
			if !null && !canonical(typ, out) {
				t.Fatalf("%s: result is no canonical %s", o.op, typ.Kind)
			}
		}
	})
}

func TestPseudonym(t *testing.T) {
	k1, k2 := []byte("0123456789abcdef"), []byte("0123456789abcdeg")
	a, b := mustNew(t, OpPseudonym, Params{Type: text, Key: k1}), mustNew(t, OpPseudonym, Params{Type: text, Key: k2})
	k1[0] = 'x' // the operator holds its own copy
	c := mustNew(t, OpPseudonym, Params{Type: text, Key: []byte("0123456789abcdef")})
	seen := map[string]bool{}
	for i := range 2000 {
		v := fmt.Sprint(i)
		x, null := a.Apply(v)
		y, _ := b.Apply(v)
		z, _ := c.Apply(v)
		if null || len(x) != 32 || strings.Trim(x, "0123456789abcdef") != "" {
			t.Fatal("pseudonym is not 32 hexadecimal digits")
		}
		if x == y {
			t.Fatal("two keys give one pseudonym")
		}
		if x != z {
			t.Fatal("one key gives two pseudonyms")
		}
		if seen[x] {
			t.Fatal("two values share a pseudonym")
		}
		seen[x] = true
	}
	// HMAC-SHA-256 test case 6 of RFC 4231, cut to 16 bytes.
	rfc := mustNew(t, OpPseudonym, Params{Type: text, Key: []byte(strings.Repeat("\xaa", 131))})
	if got, _ := rfc.Apply("Test Using Larger Than Block-Size Key - Hash Key First"); got != "60e431591ee0b67f0d8a26aacbf5b77f" {
		t.Errorf("RFC 4231 test case 6: got %s", got)
	}
}

func TestPseudonymIsConcurrent(t *testing.T) {
	op := mustNew(t, OpPseudonym, Params{Type: text, Key: make([]byte, MinKey)})
	want, _ := op.Apply("34052419800101001X")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				op.Apply(fmt.Sprint(i))
				if got, _ := op.Apply("34052419800101001X"); got != want {
					t.Error("pseudonym differs between goroutines")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestNewRefuses(t *testing.T) {
	date, num := algebra.Type{Kind: algebra.Date}, algebra.Type{Kind: algebra.Decimal, Scale: 2}
	tests := []struct {
		name, op string
		p        Params
		want     string
	}{
		{"unknown operator", "hash", Params{Type: text}, `unknown mask "hash"`},
		{"empty operator", "", Params{Type: text}, "unknown mask"},
		{"empty key", OpPseudonym, Params{Type: text}, "key of at least 16"},
		{"short key", OpPseudonym, Params{Type: text, Key: make([]byte, 15)}, "key of at least 16"},
		{"no type", OpKeep, Params{}, "unknown column type"},
		{"unknown type", OpKeep, Params{Type: algebra.Type{Kind: "float"}}, "unknown column type"},
		{"year of text", OpYear, Params{Type: text}, "needs a date column"},
		{"month of decimal", OpMonth, Params{Type: num}, "needs a date column"},
		{"area without digits", OpArea, Params{Type: text}, "2, 4 or 6"},
		{"area of 3 digits", OpArea, Params{Type: text, Digits: 3}, "2, 4 or 6"},
		{"area of a date", OpArea, Params{Type: date, Digits: 2}, "text or int"},
		{"name of a date", OpName, Params{Type: date}, "needs a text column"},
		{"digits elsewhere", OpID, Params{Type: text, Digits: 4}, "takes no digits"},
		{"value elsewhere", OpNull, Params{Type: text, Value: "x"}, "takes no value"},
		{"constant without value", OpConstant, Params{Type: text}, "needs a value"},
		{"constant of the wrong type", OpConstant, Params{Type: date, Value: "2024-02-30"}, "no canonical date"},
		{"constant with too many digits", OpConstant, Params{Type: num, Value: "1.234"}, "no canonical decimal"},
		{"constant int with zero in front", OpConstant, Params{Type: algebra.Type{Kind: algebra.Int}, Value: "07"}, "no canonical int"},
	}
	for _, tt := range tests {
		op, err := New(tt.op, tt.p)
		if err == nil || op != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, %v; want an error with %q", tt.name, op, err, tt.want)
		}
		if tt.p.Value != "" && err != nil && strings.Contains(err.Error(), tt.p.Value) {
			t.Errorf("%s: the error carries the value", tt.name)
		}
	}
}

func TestOutType(t *testing.T) {
	num, date := algebra.Type{Kind: algebra.Decimal, Scale: 2}, algebra.Type{Kind: algebra.Date}
	tests := []struct {
		op   string
		p    Params
		want algebra.Type
		drop bool
	}{
		{OpKeep, Params{Type: num}, num, false},
		{OpNull, Params{Type: num}, num, false},
		{OpDrop, Params{Type: num}, algebra.Type{}, true},
		{OpConstant, Params{Type: num, Value: "-12.50"}, num, false},
		{OpConstant, Params{Type: algebra.Type{Kind: algebra.Bool}, Value: "true"}, algebra.Type{Kind: algebra.Bool}, false},
		{OpPseudonym, Params{Type: text}, text, false}, // no key needed for the type
		{OpYear, Params{Type: date}, algebra.Type{Kind: algebra.Int}, false},
		{OpMonth, Params{Type: date}, date, false},
		{OpArea, Params{Type: algebra.Type{Kind: algebra.Int}, Digits: 4}, text, false},
		{OpName, Params{Type: text}, text, false},
		{OpCard, Params{Type: text}, text, false},
	}
	for _, tt := range tests {
		got, drop, err := OutType(tt.op, tt.p)
		if err != nil || got != tt.want || drop != tt.drop {
			t.Errorf("OutType(%q) = %v, %v, %v; want %v, %v", tt.op, got, drop, err, tt.want, tt.drop)
		}
	}
}

func BenchmarkPseudonym(b *testing.B) {
	op := mustNew(b, OpPseudonym, Params{Type: text, Key: make([]byte, 32)})
	for b.Loop() {
		op.Apply("34052419800101001X")
	}
}
