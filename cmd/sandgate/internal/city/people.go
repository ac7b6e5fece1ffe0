package city

import (
	"strconv"
	"time"

	"github.com/sandgate/sandgate/masking"
)

// refDay is the day the registers were drawn up: 2026-01-01.
var refDay = dayOf(2026, time.January, 1)

type status uint8

const (
	outside  status = iota // child, student, not insured
	employed               // insured through an employer
	flexible               // 灵活就业, pays quarterly
	resident               // 城乡居民, pays once a year
	retired
)

// person is one resident. Wage and frailty drive the amounts of all tables, which
// is what correlates them.
type person struct {
	id       string
	name     string
	birth    int // days since 1970-01-01
	wage     int64
	frailty  int64 // visits expected per year, hundredths
	employer int32 // index of firms, -1 for none
	age      int16
	district uint8
	status   status
	male     bool
}

// ageBands are the residents per five years of age, from 0 to 99: an ageing city.
var ageBands = newWeighted(26, 34, 40, 40, 38, 46, 60, 72, 74, 78, 92, 98, 88, 80, 58, 36, 22, 12, 5, 1)

func newPeople(cfg Config, firms []firm) []person {
	d := newDraws(cfg.Seed, 2)
	jobs := jobWeights(firms)
	people := make([]person, cfg.Residents)
	taken := make(map[string]bool, cfg.Residents)
	for i := range people {
		p := &people[i]
		p.age = int16(ageBands.pick(d)*5 + d.below(5))
		p.birth = refDay - 1 - int(p.age)*36525/100 - d.below(365)
		p.male = d.chance(4950)
		p.district = uint8(districtWeights.pick(d))
		p.name = surnames[surnameZ.pick(d)] + givens[givenZ.pick(d)]
		if d.chance(7800) {
			p.name += givens[givenZ.pick(d)]
		}
		p.status = statusAt(d, p.age, p.male)
		p.employer = -1
		level := 70 + int64(min(p.age, 50))
		if p.status == employed {
			p.employer = int32(jobs.pick(d))
			level = level * int64(industries[firms[p.employer].industry].wage) / 100
		}
		p.wage = d.logNormal(4600_00*level/100, 36_000) / 100_00 * 100_00
		p.frailty = d.logNormal(85+int64(p.age)*int64(p.age)/18, 80_000)
		p.id = newID(d, p, taken)
	}
	return people
}

func statusAt(d *draws, age int16, male bool) status {
	leave := int16(55)
	if male {
		leave = 60
	}
	switch x := d.below(100); {
	case age < 18, age < 22 && x < 70:
		return outside
	case age >= leave:
		return retired
	case x < 64:
		return employed
	case x < 76:
		return flexible
	case x < 95:
		return resident
	default:
		return outside
	}
}

// newID draws an identity number that nobody else in the city has. The region is
// the district of birth, mostly that of residence; an odd serial is a man's.
func newID(d *draws, p *person, taken map[string]bool) string {
	home := int(p.district)
	if d.chance(2500) {
		home = districtWeights.pick(d)
	}
	born := time.Unix(int64(p.birth)*86400, 0).UTC().Format("20060102")
	for {
		serial := d.below(500) * 2
		if p.male {
			serial++
		}
		first := districts[home].code + born + strconv.Itoa(1000 + serial)[1:]
		if !taken[first] {
			taken[first] = true
			return first + string(masking.CitizenIDCheck(first))
		}
	}
}

// firm is one enterprise.
type firm struct {
	code      string
	name      string
	founded   int
	capital   int64 // yuan
	employees int64
	legal     uint32 // reduced modulo the number of residents
	industry  uint8
	district  uint8
	active    bool
	size      int // weight as an employer
}

// newFirms draws one enterprise per 18 residents, at least 20. Their sizes follow
// Zipf's law: the first few employ most people.
func newFirms(cfg Config) []firm {
	d := newDraws(cfg.Seed, 1)
	firms := make([]firm, max(20, cfg.Residents/18))
	taken := make(map[string]bool, len(firms))
	for i := range firms {
		f := &firms[i]
		f.industry = uint8(industryWeights.pick(d))
		f.district = uint8(districtWeights.pick(d))
		f.founded = refDay - 1 - min(int(d.logNormal(2400, 75_000)), 16_000)
		f.size = 2_000_000 / (i + 6)
		f.active = d.chance(8600) || i < 10
		f.employees = d.logNormal(2+int64(9000/(i+6)), 40_000)
		f.capital = d.logNormal(300_000+f.employees*20_000, 110_000) / 10_000 * 10_000
		f.legal = uint32(d.below(1<<31 - 1))
		f.name = "砂门市" + brands[d.below(len(brands))] + givens[d.below(len(givens))] +
			trades[d.below(len(trades))] + forms[d.below(len(forms))]
		for f.code == "" || taken[f.code] {
			f.code = newCreditCode(d, districts[f.district].code)
		}
		taken[f.code] = true
	}
	return firms
}

// jobWeights spreads employees over the enterprises that still trade.
func jobWeights(firms []firm) weighted {
	w := make([]int, len(firms))
	for i, f := range firms {
		w[i] = 1
		if f.active {
			w[i] = f.size
		}
	}
	return newWeighted(w...)
}

// orgWeights and the rule 11−Σ mod 11 are those of GB 11714 for the inner
// organisation code.
var orgWeights = [8]int{3, 7, 9, 10, 5, 8, 4, 2}

// newCreditCode draws a code of the market regulator (9) for an enterprise (1).
func newCreditCode(d *draws, region string) string {
	org := "MA" + strconv.Itoa(1_000_000 + d.below(1_000_000))[1:]
	sum := 0
	for i := range orgWeights {
		v := int(org[i] - '0')
		if org[i] >= 'A' {
			v = int(org[i]-'A') + 10
		}
		sum += v * orgWeights[i]
	}
	check := "0123456789X0"[11-sum%11]
	first := "91" + region + org + string(check)
	return first + string(masking.CreditCodeCheck(first))
}
