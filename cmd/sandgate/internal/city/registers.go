package city

import (
	"strconv"
	"time"
)

func (g *City) districts(r *rows) {
	for _, d := range districts {
		r.begin()
		r.word(d.code)
		r.word(d.name)
		r.word(d.region)
		r.end()
	}
	r.begin()
	r.word(otherDistrict)
	r.word("其他")
	r.word("其他")
	r.end()
}

func (g *City) population(r *rows) {
	kinds := newWeighted(58, 36, 6)
	for i := range g.people {
		if !r.begin() {
			return
		}
		p := &g.people[i]
		r.id(p.id)
		r.word(p.name)
		switch {
		case r.chance(20):
			r.word("9")
		case p.male:
			r.word("1")
		default:
			r.word("2")
		}
		r.spoilableDate(p.birth)
		r.district(int(p.district))
		if r.chance(120) {
			r.empty()
		} else {
			r.word([]string{"urban", "rural", "collective"}[kinds.pick(r.draws)])
		}
		if p.age < 12 || r.chance(800) {
			r.empty()
		} else {
			r.word("154" + strconv.Itoa(100_000_000 + r.below(100_000_000))[1:])
		}
		if r.chance(200) {
			r.empty()
		} else {
			r.quoted(address(r.draws, int(p.district)))
		}
		r.end()
	}
}

// address now and then holds a comma or a quotation mark, as typed ones do.
func address(d *draws, district int) string {
	s := "砂门市" + districts[district].name + streets[d.below(len(streets))] + strconv.Itoa(1+d.below(380)) + "号"
	switch x := d.below(100); {
	case x < 2:
		return s + `"砂门家园",` + strconv.Itoa(1+d.below(30)) + "栋"
	case x < 70:
		return s + strconv.Itoa(1+d.below(6)) + "单元" + strconv.Itoa(100*(1+d.below(18))+1+d.below(4)) + "室"
	default:
		return s
	}
}

// marriage pairs men with women of about their age; each registration is one row
// per spouse.
func (g *City) marriage(r *rows) {
	var women []int
	for i := range g.people {
		if !g.people[i].male && g.people[i].age >= 20 {
			women = append(women, i)
		}
	}
	if len(women) == 0 {
		return
	}
	for i := range g.people {
		p := &g.people[i]
		if !p.male || p.age < 22 || !r.chance(6600) {
			continue
		}
		day := p.birth + 22*365 + int(r.logNormal(1600, 60_000))
		for day < refDay {
			q := g.bride(r.draws, women, p)
			if !g.couple(r, p, q, day, "marriage") {
				return
			}
			if !r.chance(1900) {
				break
			}
			if day += 200 + int(r.logNormal(1700, 60_000)); day >= refDay {
				break
			}
			if !g.couple(r, p, q, day, "divorce") {
				return
			}
			day += 300 + int(r.logNormal(900, 60_000))
			if !r.chance(4500) {
				break
			}
		}
	}
}

// bride picks a woman of about p's age, or after eight tries any.
func (g *City) bride(d *draws, women []int, p *person) *person {
	var q *person
	for range 8 {
		q = &g.people[women[d.below(len(women))]]
		if q.age <= p.age+3 && q.age >= p.age-8 {
			break
		}
	}
	return q
}

func (g *City) couple(r *rows, p, q *person, day int, event string) bool {
	for _, x := range [2][2]*person{{p, q}, {q, p}} {
		if !r.begin() {
			return false
		}
		r.id(x[0].id)
		if r.chance(60) {
			r.empty()
		} else {
			r.word(x[1].id)
		}
		r.spoilableDate(day)
		r.word(event)
		r.district(int(p.district))
		r.end()
	}
	return true
}

func (g *City) enterprises(r *rows) {
	for i := range g.firms {
		if !r.begin() {
			return
		}
		f := &g.firms[i]
		r.id(f.code)
		r.quoted(f.name)
		if r.chance(150) {
			r.empty()
		} else {
			r.word(g.people[int(f.legal)%len(g.people)].id)
		}
		if r.chance(80) {
			r.word("Z")
		} else {
			r.word(industries[f.industry].letter)
		}
		if r.chance(40) {
			r.int(f.capital * 10_000) // 元 entered as 万元
		} else {
			r.int(f.capital)
		}
		if r.chance(300) {
			r.empty()
		} else {
			r.int(f.employees)
		}
		r.spoilableDate(f.founded)
		switch {
		case f.active:
			r.word("active")
		case r.chance(7000):
			r.word("cancelled")
		default:
			r.word("revoked")
		}
		r.district(int(f.district))
		r.end()
	}
}

// property gives four adults in ten one or more titles; a few hold many.
func (g *City) property(r *rows) {
	uses := newWeighted(860, 60, 25, 15, 40)
	names := []string{"residential", "commercial", "office", "industrial", "parking"}
	median := []int64{84_00, 62_00, 110_00, 420_00, 13_00}
	count := newWeighted(740, 170, 50, 20, 12, 8)
	for i := range g.people {
		p := &g.people[i]
		if p.age < 24 || !r.chance(4200) {
			continue
		}
		for range 1 + count.pick(r.draws) {
			if !r.begin() {
				return
			}
			use := uses.pick(r.draws)
			at := int(p.district)
			if r.chance(2000) {
				at = districtWeights.pick(r.draws)
			}
			area := r.logNormal(median[use], 28_000)
			r.id(p.id)
			r.word("砂(2025)不动产权第" + strconv.Itoa(10_000_000 + r.n)[1:] + "号")
			r.cents(area)
			if r.chance(500) {
				r.empty()
			} else {
				rate := int64(districts[at].price) * (60 + p.wage/100_00) / 100
				r.amount(area * r.logNormal(rate, 20_000))
			}
			if r.chance(60) {
				r.word("mixed")
			} else {
				r.word(names[use])
			}
			r.district(at)
			r.date(max(refDay-1-int(r.logNormal(2600, 60_000)), dayOf(1998, time.July, 1)))
			r.end()
		}
	}
}
