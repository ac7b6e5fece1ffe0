package twin

import (
	"fmt"
	"strings"

	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// ReservedRegion stands where a region code stands in synthetic identifiers. GB/T 2260
// assigns no division beginning with 99, and no identity card of a foreigner has 90 in
// its place of issue: no office ever gave such a number.
const ReservedRegion = "990000"

// citizens is how many different ones CitizenID makes: 80 years of twelve months of 28
// days, with 999 order codes each; credits the same of CreditCode.
const (
	citizens = 80 * 12 * 28 * 999
	credits  = 100_000_000
)

// CitizenID makes a 公民身份号码 that is well formed (GB 11643-1999: date and check
// character) and impossible: its region is ReservedRegion. The first 26 million numbers
// of a seed have different ones.
func CitizenID(seed []byte, number uint64) string {
	return citizenID(spread(seed, number, 1, citizens))
}

func citizenID(x uint64) string {
	first := fmt.Sprintf("%s%04d%02d%02d%03d", ReservedRegion, 1940+x%80, 1+x/80%12, 1+x/960%28, 1+x/26_880%999)
	return first + string(masking.CitizenIDCheck(first))
}

// spread takes numbers below n to others below n, each to one of its own: a map x → ax+b
// that the seed chooses.
func spread(seed []byte, number, kind, n uint64) uint64 {
	rnd := chance(seed, 0, kind)
	a, b := rnd.below(n), rnd.below(n)
	for gcd(a, n) != 1 {
		a = rnd.below(n)
	}
	return (a*(number%n) + b) % n // below 2⁵⁴
}

func gcd(a, b uint64) uint64 {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

// organisationWeights of GB 11714-1997.
var organisationWeights = [8]int{3, 7, 9, 10, 5, 8, 4, 2}

// CreditCode makes a 统一社会信用代码 that is well formed (GB 32100-2015, and GB
// 11714-1997 within) and impossible: its region is ReservedRegion. The first 100 million
// numbers of a seed have different ones.
func CreditCode(seed []byte, number uint64) string {
	return creditCode(spread(seed, number, 2, credits))
}

func creditCode(n uint64) string {
	var b strings.Builder
	b.WriteString("91" + ReservedRegion)
	sum := 0
	for _, w := range organisationWeights {
		x := int(n % 10)
		n /= 10
		b.WriteByte('0' + byte(x))
		sum += w * x
	}
	switch check := 11 - sum%11; check {
	case 10:
		b.WriteByte('X')
	case 11:
		b.WriteByte('0')
	default:
		b.WriteByte('0' + byte(check))
	}
	return b.String() + string(masking.CreditCodeCheck(b.String()))
}

// Impossible says whether an identifier is marked as synthetic.
func Impossible(id string) bool {
	return masking.CitizenID(id) == masking.OK && strings.HasPrefix(id, ReservedRegion) ||
		masking.CreditCode(id) == masking.OK && id[2:8] == ReservedRegion
}

// The commonest surnames and characters of given names, as every list has them.
var (
	surnames = []rune("王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹")
	given    = []rune("伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华建文玉红梅志")
	streets  = []string{"人民路", "解放路", "中山路", "建设路", "文化路", "和平路", "新华路", "胜利路", "光明路", "青年路"}
)

// chance is the stream of one synthetic identifier.
func chance(seed []byte, number uint64, kind uint64) stream {
	key := kind
	for _, b := range seed {
		key = mix(key + uint64(b) + 1)
	}
	return stream(mix(mix(number+key) ^ key))
}

// bornAs is when a unit whose first row was drawn last was born.
func (s *Sampler) bornAs(number uint64, out *Rows) birth {
	switch {
	case s.born != nil:
		return s.born(number)
	case s.birth >= 0:
		return bornIn(s.t.Columns, s.birth, &out.Columns[s.birth], len(out.Units)-1)
	}
	return birth{}
}

// made gives a unit's values of the generated columns. The birthday in an identity number
// is the one that a column tells, if one does.
func (s *Sampler) made(number uint64, born birth) []string {
	out := make([]string, len(s.t.Generated))
	for i, g := range s.t.Generated {
		if g.Kind == policies.IdentCitizen {
			rnd := stream(mix(mix(number+s.who[1]) ^ mix(s.slots[i]+1)))
			if id, ok := citizenBorn(born, &rnd); ok {
				out[i] = id
				continue
			}
		}
		out[i] = identifier(g.Kind, stream(mix(mix(number+s.who[1])^mix(s.slots[i]))))
	}
	return out
}

// identifier makes one up. Those without a check character are impossible by shape:
// a mobile number of a range that is not assigned, a domain that is never (RFC 2606).
func identifier(kind policies.IdentifierKind, rnd stream) string {
	pick := func(from []rune) string { return string(from[rnd.below(uint64(len(from)))]) }
	switch kind {
	case policies.IdentCitizen:
		return citizenID(rnd.below(citizens))
	case policies.IdentCredit:
		return creditCode(rnd.below(credits))
	case policies.IdentName:
		return pick(surnames) + pick(given) + pick(given)
	case policies.IdentAddress:
		p := masking.Provinces[rnd.below(uint64(len(masking.Provinces)))]
		return fmt.Sprintf("%s虚拟市示例区%s%d号", p.Name, streets[rnd.below(uint64(len(streets)))], 1+rnd.below(999))
	case policies.IdentPhone:
		return fmt.Sprintf("100%08d", rnd.below(100_000_000))
	case policies.IdentEmail:
		return fmt.Sprintf("u%08d@example.invalid", rnd.below(100_000_000))
	case policies.IdentCard:
		return fmt.Sprintf("000000%010d", rnd.below(10_000_000_000))
	case policies.IdentPlate:
		return fmt.Sprintf("虚A%05d", rnd.below(100_000))
	}
	return fmt.Sprintf("twin-%016x", rnd.next())
}
